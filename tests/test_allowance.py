"""A run that is allowed so many seconds: results and errors as they are, an end where they are over."""

import subprocess
import sys
import time

import pytest

from vlmplan.exporting import Allowance, OutOfTime


def test_what_a_call_returns_and_raises() -> None:
    allowance = Allowance()
    assert allowance.call("it", lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        allowance.call("it", lambda: 1 // 0)
    assert allowance.call("it", lambda: 8) == 8


def test_runs_share_it() -> None:
    allowance = Allowance(0.5)
    with pytest.raises(OutOfTime, match=r"^it was stopped: its runs took .*s, allowed are .*--timeout raises it$"):
        for _ in range(1000):
            allowance.call("it", lambda: time.sleep(0.05))


def test_it_grows_with_what_else_is_done() -> None:
    allowance = Allowance(0.01)
    time.sleep(0.1)  # the checkpoint's own run: twenty times as much is allowed
    allowance.call("it", lambda: time.sleep(0.5))
    with pytest.raises(OutOfTime):
        allowance.call("it", lambda: time.sleep(60), lambda: None)


def test_what_is_granted_is_allowed() -> None:
    allowance = Allowance(0.2)
    allowance.grant(5)
    allowance.call("it", lambda: time.sleep(0.7))


def test_it_is_asked_to_stop() -> None:
    asked: list[bool] = []

    def call() -> None:
        while not asked:
            time.sleep(0.01)

    with pytest.raises(OutOfTime):
        Allowance(0.1).call("it", call, lambda: asked.append(True))


def test_what_is_left_behind_keeps_no_process_alive() -> None:
    """One operator of minutes, which ONNX Runtime does not interrupt: the process ends all the same, as it should."""
    script = """
import sys
import numpy as np
import onnxruntime
from onnx import helper
from vlmplan.exporting import Allowance, OutOfTime
from vlmplan.exporting.allowance import LimitedSession

shapes = [helper.make_tensor_value_info(name, 1, ["n", "n"]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "graph", shapes[:1], shapes[1:])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 4
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
large = np.zeros((16000, 16000), np.float32)
limited = LimitedSession(session, "model.onnx", Allowance(0.5))
assert limited.run(["y"], {"x": np.eye(3, dtype=np.float32)})[0].sum() == 3
try:
    limited.run(["y"], {"x": large})
except OutOfTime as error:
    print(error)
    sys.exit(4)
"""
    started = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=100)
    assert (ended.returncode, ended.stderr) == (4, "")
    assert ended.stdout.startswith("model.onnx was stopped")
    assert time.monotonic() - started < 30
