"""Every named case of the design's mutation suite is a vector or a test, so that none is forgotten."""

import ast
import json
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
MANIFEST = json.loads((TESTS / "conformance" / "vectors" / "manifest.json").read_bytes())
VECTORS = {entry["case"] for entry in MANIFEST["vectors"]}

# What a file can show.
PROOFS = """
    late_g r_swapped same_r_two_beacons b_page_or_level_swapped
    c_is_2 sign_is_2 t_off_by_one_low t_off_by_one_high smaller_sigma_table threshold_digest limb_2048
    limb_minus_one multiplicity_after_alpha multiplicity_unbalanced tuple_from_range_table
    lookup_sum_nonzero acc_start_nonzero acc_reset_mid_page page_omitted norm_bound_plus_1 norm_wrap
    value_in_blinding_row closing_row_altered u_entry_plus_1 u_out_of_range u_non_canonical
    wrong_participant wrong_round wrong_model params_swapped evaluation_changed evaluation_not_absorbed
    opening_not_absorbed chunk_swapped opening_identity infinity_encodings non_subgroup_point
    scalar_not_reduced msm_length_mismatch truncated trailing_bytes public_column_from_prover
    srs_bit_reversed linear_value_changed linear_column_opened_elsewhere
    projection_over_bound entry_is_half combined_before_theta lot_bit_flipped residual_forged
    row_norm_plus_1 dataset_swapped label_is_2 weights_altered rows_altered record_beyond_rows g_balanced
    gram_asymmetric
"""
# What only a log or an account can show, and the test that shows it.
LOG = {
    "r_reused": "test_r_reused",
    "same_r_two_u": "test_second_release",
    "second_commit": "test_second_commit",
    "slot_after_beacon": "test_commit_after_beacon",
    "beacon_wrong_checkpoint": "test_beacon_wrong_checkpoint",
    "nonce_not_precommitted": "test_nonce_not_precommitted",
    "copied_commitment": "test_copied_commitment",
    "release_missing": "test_release_hidden",
    "amplified_without_lot": "test_amplified_without_lot",
    "half_integer_order": "test_half_integer_order",
    "invalid_release_not_counted": "test_invalid_release_not_counted",
}


@pytest.fixture(scope="module")
def functions() -> set[str]:
    """The names of all test functions of the project."""
    trees = [ast.parse(path.read_bytes()) for path in TESTS.rglob("test_*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("case", PROOFS.split())
def test_case_is_a_vector(case: str) -> None:
    assert case in VECTORS


@pytest.mark.parametrize("case", LOG)
def test_case_is_a_test(case: str, functions: set[str]) -> None:
    assert LOG[case] in functions
