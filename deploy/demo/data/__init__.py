"""The demo's data: real sales in a compact form, invented vulnerabilities, and who holds which part."""

from deploy.demo.data.participants import write_participant_files

__all__ = ["write_participant_files"]
