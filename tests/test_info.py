"""kwsrt info on models that are valid and yet say strange things."""

import json

import numpy as np
import pytest

from kwsrt import format as file_format
from kwsrt.cli import main
from tests.models import make_model

SIZES = [1.5, [1], {"size": 2}, "big", True, None, 10**15]


def run(capsys, path, *options):
    code = main(["info", str(path), *options])
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    return code, output.out


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_manifest_can_have_a_size(tmp_path, capsys, size):
    path = tmp_path / "model.kws"
    path.write_bytes(make_model(manifest={"provenance": {"size": size}, "notes": [{"size": size}]}))
    code, out = run(capsys, path)
    assert code == 0
    assert f"{path.stat().st_size:,} bytes" in out
    code, out = run(capsys, path, "--json")
    assert json.loads(out)["provenance"] == {"size": size}


def test_deep_manifests_are_shown(tmp_path, capsys):
    nested = "end"
    for _ in range(30):
        nested = {"a": nested}
    path = tmp_path / "model.kws"
    path.write_bytes(make_model(manifest={"training": nested}))
    code, out = run(capsys, path)
    assert (code, "end" in out) == (0, True)


def test_json_is_json_even_where_scores_are_no_numbers(tmp_path, capsys):
    file = file_format.parse(make_model())
    broken = np.full_like(file.tensors["verify.scores"], np.nan)
    path = tmp_path / "model.kws"
    path.write_bytes(file_format.write(file.manifest, {**file.tensors, "verify.scores": broken}))
    code, out = run(capsys, path, "--json", "--verify")

    def refuse(constant):
        raise AssertionError(constant)

    told = json.loads(out, parse_constant=refuse)
    assert (code, told["verified"], told["difference"]) == (1, False, None)
