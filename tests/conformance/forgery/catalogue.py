"""All cases: importing the modules registers them."""

from tests.conformance.forgery import (
    argument_cases,
    circuit_cases,
    dataset_cases,
    file_cases,
    honest_cases,
    noise_cases,
    statement_cases,
    step_cases,
    sum_cases,
)
from tests.conformance.forgery.cases import CASES

MODULES = (
    honest_cases,
    noise_cases,
    circuit_cases,
    dataset_cases,
    sum_cases,
    step_cases,
    argument_cases,
    statement_cases,
    file_cases,
)

__all__ = ["CASES", "MODULES"]
