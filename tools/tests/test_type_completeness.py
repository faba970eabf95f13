import json

import pytest
import type_completeness


def report(score):
    symbols = [
        {"name": "p.known", "isExported": True, "isTypeKnown": True, "diagnostics": []},
        {"name": "p._private", "isExported": False, "isTypeKnown": False, "diagnostics": []},
        {
            "name": "p.f",
            "isExported": True,
            "isTypeKnown": False,
            "diagnostics": [{"message": "Return type is unknown"}],
        },
    ]
    return {"typeCompleteness": {"completenessScore": score, "symbols": symbols}}


@pytest.mark.parametrize(("score", "failed"), [(1.0, 0), (0.95, 0), (0.949, 1)])
def test_a_package_below_the_least_score_fails_and_its_symbols_are_listed(
    score, failed, monkeypatch, capsys
):
    answer = type("Answer", (), {"stdout": json.dumps(report(score))})
    monkeypatch.setattr(type_completeness.subprocess, "run", lambda *args, **options: answer)
    assert type_completeness.main(["nn-x"]) == failed
    assert ("p.f: Return type is unknown" in capsys.readouterr().out) == bool(failed)
