"""The example of a table: as good as scikit-learn's network, and served as it predicts."""

import ast
import inspect
import json
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("pandas", reason="pandas is not installed")


@pytest.fixture
def diabetes(load_example):
    return load_example("diabetes")


@pytest.fixture
def trained(diabetes, tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    diabetes.main(["--model", str(path)])
    assert f"saved to {path}" in capsys.readouterr().out
    return path


def patients(diabetes, count):
    table = diabetes.load_diabetes(as_frame=True, scaled=False).frame.drop(columns="target")
    return table[:count]


def test_the_task_takes_at_most_20_lines(diabetes):
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(diabetes.train))).body
    lines = ast.unparse(function.body[1:]).splitlines()
    assert function.end_lineno <= 22
    assert len(lines) <= 20


def test_r2_is_that_of_scikit_learn_within_noise(diabetes, tmp_path, capsys):
    ours, theirs = diabetes.compare(5, tmp_path).T
    assert "mean    R² " in capsys.readouterr().out
    difference = ours - theirs
    noise = difference.std(ddof=1) / np.sqrt(5)
    assert difference.mean() > -3 * noise
    assert ours.mean() > 0.35


def test_a_new_process_predicts_the_same(diabetes, trained):
    expected = diabetes.load(trained)(patients(diabetes, 20))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import diabetes, numpy\n"
        "table = diabetes.load_diabetes(as_frame=True, scaled=False).frame[:20]\n"
        "print(diabetes.load(sys.argv[2])(table).tobytes().hex())"
    )
    command = [sys.executable, "-c", program, str(diabetes.__file__).rpartition("/")[0], trained]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == expected.tobytes().hex()


def test_serving_needs_a_model(diabetes, tmp_path, capsys):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    with pytest.raises(SystemExit):
        diabetes.main(["--serve", "--model", str(tmp_path / "none.safetensors")])
    assert "no such file; train it first" in capsys.readouterr().err


@pytest.fixture
def server(diabetes, trained):
    """The address of a server of the predictions, on the loopback address."""
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    app = diabetes.make_app(trained)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/predict"
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


def post(address, content):
    request = urllib.request.Request(
        address, json.dumps(content).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_the_server_answers_with_the_predictions_of_the_model(diabetes, trained, server):
    table = patients(diabetes, 5)
    expected = diabetes.load(trained)(table)
    rows = table.to_dict("records")
    rows = [{**row, "sex": int(row["sex"])} for row in rows]
    answers = [post(server, row)["progression"] for row in rows]
    np.testing.assert_allclose(answers, expected, rtol=1e-5)
    assert np.ptp(answers) > 10


@pytest.mark.parametrize("wrong", ["missing", "unknown", "text"])
def test_the_server_refuses_what_is_not_a_patient(diabetes, server, wrong):
    row = {**patients(diabetes, 1).to_dict("records")[0], "sex": 1}
    if wrong == "missing":
        del row["bmi"]
    else:
        row |= {"weight": 70.0} if wrong == "unknown" else {"bmi": "high"}
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(server, row)
    assert caught.value.code == 422
    named = {"missing": "bmi", "unknown": "weight", "text": "bmi"}[wrong]
    assert named in caught.value.read().decode()
    caught.value.close()
