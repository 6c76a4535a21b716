"""The one error tree.

IntertwineError
├── InputError          unusable input or usage; exit code 2
│   └── StorageError    this machine cannot write or keep what it should; nobody's message is at fault
├── VerificationError   a numbered check said no; exit code 1
├── BudgetError         a privacy budget or policy would be exceeded; exit code 1
└── FederationError     a run, a round or a peer failed; exit code 1

Every message says what is wrong in one sentence and what to do about it in another. Command-line tools
print the message and exit with `exit_code`; they never print a traceback for one of these.
"""


class IntertwineError(Exception):
    """Base of every error that a user may see.

    problem: one sentence, naming the field, file or party at fault.
    remedy: one sentence, saying what to do now; may be empty where `problem` says it already.
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem} {remedy}".strip())
        self.problem = problem
        self.remedy = remedy


class InputError(IntertwineError):
    """Input that cannot be used: a file, a field, an option, a setting."""

    exit_code = 2


class StorageError(InputError):
    """A disk or a database does not do what it should; nobody's message is at fault, and later it may."""


class VerificationError(IntertwineError):
    """A check of a proof, signature, digest or log failed.

    check: the stable name of the check, as documented (for example `constraint_identity`).
    """

    def __init__(self, check: str, problem: str, remedy: str = "") -> None:
        super().__init__(f"check {check} failed: {problem}", remedy)
        self.check = check
        self.problem = problem


class BudgetError(IntertwineError):
    """A plan or round would exceed the participant's privacy limit or policy; nothing was spent."""


class FederationError(IntertwineError):
    """A run, round or peer failed; the state on disk is as it was before."""


def missing_package(problem: str, extra: str) -> InputError:
    """The error for a package that is not installed. extra: which of intertwine's extras brings it."""
    command = f'pip install --constraint deploy/constraints.txt ".[{extra}]"'
    return InputError(problem, f"In a clone of intertwine, run: {command}")
