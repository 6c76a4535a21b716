"""The files in `deploy` pass their own tools, name real commands, and give no more rights than needed."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path

import click
import kubernetes_validate
import pytest
import typer
import yaml

from intertwine.client import cli as agent
from intertwine.server import cli as coordinator
from intertwine.server.database import URL_VARIABLE, database_url, postgresql_url
from intertwine.server.home import CoordinatorSettings, Home

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "intertwine-coordinator"
COMPOSE = DEPLOY / "compose.yaml"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILES = sorted((DEPLOY / "containers").glob("*.Dockerfile"))
PROGRAM = "/opt/intertwine/bin/intertwine"
PASSWORD = {"postgresql": {"existingSecret": "federation-postgresql"}}
OWN_DATABASE = {
    "postgresql": {"enabled": False},
    "database": {"existingSecret": "federation-database", "peers": [{"ipBlock": {"cidr": "192.0.2.9/32"}}]},
}
VALUES = {
    **PASSWORD,
    "hosts": ["federation.example", "federation.example.org"],
    "image": {"digest": f"sha256:{'0' * 64}", "pullSecrets": ["registry"]},
    "nodeSelector": {"disktype": "ssd"},
    "tolerations": [{"key": "federation", "operator": "Exists"}],
    "persistence": {"storageClass": "fast"},
    "podAnnotations": {"example.org/owner": "federation"},
    "priorityClassName": "important",
    "networkPolicy": {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
    "service": {"loadBalancerSourceRanges": ["192.0.2.0/24"], "annotations": {"example.org/a": "b"}},
}
CHOICES = {
    "postgresql": PASSWORD,
    "own": OWN_DATABASE,
    "sqlite": {"postgresql": {"enabled": False}},
    "everything": VALUES,
}
# Helm is a Go library, which takes over a process's signals: it gets one of its own.
HELM = """
import json, sys
from helm_python import HelmError, chart
path, values, name = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
with chart.Chart.load(path) as opened:
    try:
        opened.validate_schema(values)
        rendered, refused = opened.render(values, name=name, namespace="intertwine"), ""
    except HelmError as error:
        rendered, refused = {}, str(error)
print(json.dumps({"lint": chart.lint(path, values, strict=True), "files": rendered, "refused": refused}))
"""

every_unit = pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
Json = dict[str, typing.Any]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def tool(name: str) -> Path:
    """A checker among the development tools."""
    return Path(sys.executable).with_name(name)


def parse(words: list[str]) -> click.Context:
    """Parse the words of an `intertwine` command as the program would; click.UsageError if it would not."""
    apps = {"agent": agent.app, "coordinator": coordinator.app}
    found: typing.Any = typer.main.get_command(apps[words[0]])
    position = 1
    while hasattr(found, "commands"):
        found = found.commands[words[position]]
        position += 1
    return typing.cast(click.Context, found.make_context(found.name, words[position:]))


# systemd


def unit_commands(unit: Path) -> list[list[str]]:
    """The words of each command of the unit, with the options that its comment gives as an example."""
    text = unit.read_text()
    for name, example in re.findall(r"^# (\w+_OPTIONS), such as: (--.*?)(?:;|$)", text, re.MULTILINE):
        text = text.replace(f"${name}", example)
    text = text.replace("%i", "shop")
    return [shlex.split(line) for line in re.findall(rf"^Exec\w+={PROGRAM} (.*)$", text, re.MULTILINE)]


@every_unit
def test_units_name_real_commands(unit: Path) -> None:
    commands = unit_commands(unit)
    assert commands
    for words in commands:
        assert str(parse(words).params["home"]).startswith("/var/lib/intertwine/")


@every_unit
def test_systemd_accepts_the_units(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / unit.name.replace("@.", "@shop.")
    copy.write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
    verified = run("systemd-analyze", "verify", copy)
    assert (verified.returncode, verified.stderr) == (0, "")


@every_unit
def test_units_are_confined(unit: Path, tmp_path: Path) -> None:
    """At most 2.0 on systemd's scale of exposure, from 0 to 10; a service with a network has 0.7 at least."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / unit.name.replace("@.", "@shop.")
    copy.write_text(unit.read_text())
    rated = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", copy)
    assert rated.returncode == 0, rated.stdout


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_commands_beside_the_service_find_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are typed with `sudo -u`, without the service's environment: the home itself says where it is."""
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    (text,) = re.findall(r"^```ini\n(.*?)^```$", page("how-to/deploy.md"), re.MULTILINE | re.DOTALL)
    name, _, options = text.partition("=")
    assert (name, options.count("\n")) == ("INIT_OPTIONS", 1)
    given = parse(["coordinator", "init", *options.split()]).params
    home = Home.init(tmp_path / "home", given["host"], {"database_url": given["database"]})
    assert database_url(home) == postgresql_url(given["database"], "INIT_OPTIONS")


def test_commands_of_the_runbook_are_for_homes_and_services_that_exist() -> None:
    homes = {str(parse(words).params["home"]) for unit in UNITS for words in unit_commands(unit)}
    functions = re.findall(r"^intertwine\(\) \{ (.*); \}$", page("runbook.md"), re.MULTILINE)
    assert {found for text in functions for found in re.findall(r"--home (\S+)", text)} == homes
    assert {found for text in functions for found in re.findall(r"exec -T (\S+)", text)} <= set(services())
    pods = {found for text in functions for found in re.findall(r"(\S+)-0 ", text)}
    assert pods == {"fed-coordinator"}
    assert len(functions) == 5


def test_what_the_pages_put_into_the_clone_is_not_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"deploy/.env", "deploy/data/", "deploy/tokens/", "/tutorial/"} <= set(ignored)


# Containers


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_hadolint_has_nothing_to_say(dockerfile: Path) -> None:
    linted = run(tool("hadolint"), "--failure-threshold", "style", dockerfile)
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
def test_images_run_a_real_command_as_nobody_special(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    last_stage = text.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.*)$", last_stage, re.MULTILINE) == ["10001:10001"]
    words = json.loads(re.findall(r"^CMD (.*)$", last_stage, re.MULTILINE)[-1])
    assert words[0] == dockerfile.stem
    parse(words)


def services() -> dict[str, Json]:
    return typing.cast(dict[str, Json], yaml.safe_load(COMPOSE.read_text())["services"])


def test_compose_file_keeps_the_schema() -> None:
    checked = run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", COMPOSE)
    assert checked.returncode == 0, checked.stdout


def test_docker_compose_accepts_the_file() -> None:
    if shutil.which("docker") is None or run("docker", "compose", "version").returncode != 0:
        pytest.skip("Docker's client with its Compose plugin is not installed")
    everything = ("--profile", "agents", "--profile", "postgresql")
    configured = run("docker", "compose", "--file", COMPOSE, *everything, "config", "--quiet")
    assert configured.returncode == 0, configured.stderr


@pytest.mark.parametrize("name", list(services()))
def test_compose_services_are_confined(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)
    for volume in service["volumes"]:
        assert (
            volume.endswith(":ro")
            or volume.partition(":")[0] in yaml.safe_load(COMPOSE.read_text())["volumes"]
        )


def test_compose_publishes_the_coordinator_to_others_and_predictions_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    coordinators = published.pop("coordinator")
    assert coordinators == ["8443:8443", "9092:9092"]
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


@pytest.mark.parametrize("name", [name for name, found in services().items() if "entrypoint" not in found])
def test_compose_services_run_real_commands(name: str) -> None:
    service = services()[name]
    if "intertwine" in service["image"] and "command" in service:
        parse([re.sub(r"\$\{\w+:-(.*?)\}", r"\1", word) for word in service["command"]])


def test_agents_are_examined_by_their_doctor() -> None:
    """By the image's health check and by the services', except where predictions answer for themselves."""
    text = (DEPLOY / "containers" / "agent.Dockerfile").read_text()
    (command,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)
    checks = {
        name: service["healthcheck"] for name, service in services().items() if "agent" in service["image"]
    }
    agents = [checks.pop(name)["test"] for name in ("shop", "bank")]
    for program, *words in (json.loads(command), *(test[1:] for test in agents)):
        assert program == "intertwine"
        parse(words)
    assert "healthz" in str(checks.pop("shop-predictions"))
    assert set(map(str, checks.values())) == {"{'disable': True}"}


@pytest.mark.parametrize("name", [name for name, found in services().items() if "entrypoint" in found])
def test_an_agent_enrols_once(name: str, tmp_path: Path) -> None:
    """The service's own shell command, with a program that only notes how it was called."""
    service = services()[name]
    secret = tmp_path / "invitation"
    secret.write_text("itw1_token\n")
    (tmp_path / "intertwine").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "intertwine").chmod(0o755)
    command = service["command"][0].replace("$$", "$").replace("/run/secrets/invitation", str(secret))
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "COORDINATOR": "https://c:8443",
    }

    def start() -> list[str]:
        called = subprocess.run(
            [*service["entrypoint"], command], env=environment, capture_output=True, text=True, check=True
        )
        return called.stdout.splitlines()

    assert parse(start()).params["token"] == secret.read_text().strip()
    (tmp_path / ".intertwine" / "agent").mkdir(parents=True)
    (tmp_path / ".intertwine" / "agent" / "settings.toml").touch()
    assert start() == []


# Helm


def helm(values: Json, release: str = "fed") -> Json:
    answered = run(sys.executable, "-c", HELM, CHART, json.dumps(values), release)
    assert answered.returncode == 0, answered.stderr
    return typing.cast(Json, json.loads(answered.stdout))


def manifests(values: Json, release: str = "fed") -> Iterator[Json]:
    for name, text in helm(values, release)["files"].items():
        if name.endswith(".yaml"):
            yield from (document for document in yaml.safe_load_all(text) if document)


@pytest.fixture(scope="module", params=CHOICES.values(), ids=CHOICES)
def rendered(request: pytest.FixtureRequest) -> list[Json]:
    return list(manifests(request.param))


def find(documents: list[Json], kind: str, name: str = "fed-coordinator") -> Json:
    (found,) = [
        document for document in documents if (document["kind"], document["metadata"]["name"]) == (kind, name)
    ]
    return found


def pod_of(documents: list[Json], name: str = "fed-coordinator") -> Json:
    return typing.cast(Json, find(documents, "StatefulSet", name)["spec"]["template"]["spec"])


@pytest.mark.parametrize("values", [{}, *CHOICES.values()], ids=["none", *CHOICES])
def test_helm_lint_has_nothing_to_say(values: Json) -> None:
    found = helm(values)["lint"]
    assert found["errors"] == []
    assert [message["error"] for message in found["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"hosts": ["https://federation.example"]}, "/hosts/0"),
        ({"replicas": 2}, "replicas"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"persistence": {"accessMode": "ReadWriteMany"}}, "/persistence/accessMode"),
        ({"service": {"type": "NodePort"}}, "/service/type"),
        ({}, "postgresql.existingSecret"),
        ({**OWN_DATABASE, **PASSWORD}, "postgresql.enabled=false"),
        ({"postgresql": {"password": "hunter2"}}, "password"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_values_are_refused_by_name(values: Json, field: str) -> None:
    assert field in helm(values)["refused"]


@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_kubernetes_knows_every_field(rendered: list[Json], version: str) -> None:
    assert {document["kind"] for document in rendered} == {"NetworkPolicy", "Service", "StatefulSet"}
    for document in rendered:
        kubernetes_validate.validate(document, version, strict=True)


def test_pods_keep_the_restricted_standard(rendered: list[Json]) -> None:
    """Kubernetes' Pod Security Standards, profile "restricted", and a root that cannot be written."""
    for stateful in (document for document in rendered if document["kind"] == "StatefulSet"):
        pod = stateful["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] in (999, 10001)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert {key for volume in pod["volumes"] for key in volume} == {"name", "emptyDir"}
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_the_chart_runs_real_commands(rendered: list[Json]) -> None:
    pod = pod_of(rendered)
    for container in [*pod["initContainers"], *pod["containers"]]:
        parse(container["args"])


def test_the_chart_runs_one_of_each_whose_volume_outlives_it(rendered: list[Json]) -> None:
    for stateful in (document for document in rendered if document["kind"] == "StatefulSet"):
        assert stateful["spec"]["replicas"] == 1
        assert set(stateful["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}


@pytest.mark.parametrize("hosts", [[], ["federation.example", "federation.example.org"]], ids=len)
def test_public_names_come_before_the_one_within_the_cluster(hosts: list[str]) -> None:
    """The first goes into invitations."""
    pod = pod_of(list(manifests({**PASSWORD, "hosts": hosts})))
    named = parse(pod["initContainers"][0]["args"]).params["host"]
    assert list(named) == [*hosts, "fed-coordinator.intertwine.svc"]


def database_environment(values: Json) -> Json:
    """What both containers of the coordinator know of its database."""
    pod = pod_of(list(manifests(values)))
    (init,), (up,) = pod["initContainers"], pod["containers"]
    assert init.get("env") == up.get("env")
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in up.get("env", ())}


def test_the_url_of_ones_own_database_comes_from_a_secret_alone() -> None:
    assert database_environment(OWN_DATABASE) == {
        "INTERTWINE_DATABASE_URL": {"secretKeyRef": {"name": "federation-database", "key": "url"}}
    }
    assert database_environment(CHOICES["sqlite"]) == {}


def test_the_chart_s_own_database_is_the_coordinator_s() -> None:
    """Host, user, database and password are those that the server is set up with; a Secret has the last."""
    documents, known = list(manifests(VALUES)), database_environment(VALUES)
    password = {"secretKeyRef": {"name": "federation-postgresql", "key": "password"}}
    assert known.pop("PGPASSWORD") == password
    url = postgresql_url(known["INTERTWINE_DATABASE_URL"], "the chart")
    (server,) = pod_of(documents, "fed-postgresql")["containers"]
    given = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in server["env"]}
    assert given["POSTGRES_PASSWORD"] == password
    assert (url.username, url.database) == (given["POSTGRES_USER"], given["POSTGRES_DB"])
    service = find(documents, "Service", str(url.host))
    labels = find(documents, "StatefulSet", "fed-postgresql")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert server["image"] == services()["postgresql"]["image"]
    assert {volume["mountPath"] for volume in server["volumeMounts"]} >= {"/tmp", "/var/run/postgresql"}  # noqa: S108


def test_only_the_coordinator_reaches_the_chart_s_database() -> None:
    documents = list(manifests(VALUES))
    to_server = find(documents, "NetworkPolicy", "fed-postgresql")["spec"]
    labels = {
        name: find(documents, "StatefulSet", name)["spec"]["template"]["metadata"]["labels"]
        for name in ("fed-coordinator", "fed-postgresql")
    }

    def selected(selector: Json) -> list[str]:
        return [name for name, had in labels.items() if selector["matchLabels"].items() <= had.items()]

    assert selected(to_server["podSelector"]) == ["fed-postgresql"]
    assert to_server["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in to_server
    (rule,) = to_server["ingress"]
    assert [selected(peer["podSelector"]) for peer in rule["from"]] == [["fed-coordinator"]]
    (rule,) = [rule for rule in egress(documents) if "to" in rule]
    assert [selected(peer["podSelector"]) for peer in rule["to"]] == [["fed-postgresql"]]
    # The public Service leads to the coordinator alone.
    assert selected({"matchLabels": find(documents, "Service")["spec"]["selector"]}) == ["fed-coordinator"]


def egress(documents: list[Json]) -> list[Json]:
    """Where the coordinator may connect."""
    return typing.cast(list[Json], find(documents, "NetworkPolicy")["spec"]["egress"])


def test_the_coordinator_reaches_its_own_database_where_one_says() -> None:
    rules = [rule for rule in egress(list(manifests(OWN_DATABASE))) if rule["ports"][0]["port"] == 5432]
    assert [rule["to"] for rule in rules] == [[{"ipBlock": {"cidr": "192.0.2.9/32"}}]]
    assert "5432" not in str(egress(list(manifests(CHOICES["sqlite"]))))


def test_names_fit_into_labels() -> None:
    """A name and a hash are one label of pods, of up to 63 characters; a release's name has up to 53."""
    documents = list(manifests(PASSWORD, "r" * 53))
    assert max(len(document["metadata"]["name"]) for document in documents) <= 63 - len("-0123456789")


# What the files have in common


def test_ports_are_those_of_the_program(rendered: list[Json]) -> None:
    defaults = CoordinatorSettings()
    ports = {defaults.control_port, defaults.fleet_port}
    exposed = re.findall(
        r"^EXPOSE (.*)$", (DEPLOY / "containers" / "coordinator.Dockerfile").read_text(), re.M
    )
    assert {int(port) for line in exposed for port in line.split()} == ports
    assert {port["port"] for port in find(rendered, "Service")["spec"]["ports"]} == ports
    pod = pod_of(rendered)
    assert {port["containerPort"] for port in pod["containers"][0]["ports"]} == ports


def test_versions_are_that_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    images = {service["image"] for service in services().values() if "intertwine" in service["image"]}
    assert images == {f"intertwine-{role}:{version}" for role in ("agent", "coordinator")}


def test_alerts_of_the_runbook_are_about_metrics_that_exist() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs" / "runbook.md").read_text(), re.M | re.S)
    (rules,) = [found["groups"][0]["rules"] for found in map(yaml.safe_load, blocks) if "groups" in found]
    named = {name for rule in rules for name in re.findall(r"intertwine_\w+", rule["expr"])}
    described = (ROOT / "docs" / "reference" / "control-plane.md").read_text()
    known = set(re.findall(r"^\| `(intertwine_\w+)` \|", described, re.M))
    assert len(rules) == 5
    assert {name.removesuffix("_bucket") for name in named} <= known
