"""Take the schemas of serving stacks out of their sources, for ``tests/test_stacks.py`` to hold what is handed over to.

    python tools/stack_schemas.py --production-stack REPO --kserve REPO --ray VENV_PYTHON --wheels DIR

REPO is a clone, bare or not; VENV_PYTHON one that has ``ray[serve]`` 2.60, pyarrow and numpy; DIR holds the wheels of
sglang, sglang-router and vllm. Descriptions are left out, and of KServe's 2.7 MB what lies beside the fields that are
written: what is not kept is refused. All five are under Apache-2.0. Writes ``facts/stacks``.
"""

import argparse
import json
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import yaml

OUT = Path(__file__).parent.parent / "facts" / "stacks"
# The fields of an LLMInferenceService that are kept, by path; "[]" is an item of a list, "*" all below.
KEPT = (
    "apiVersion", "kind", "metadata", "spec.model.*", "spec.replicas", "spec.parallelism.*", "spec.router.gateway.*",
    "spec.router.route.group", "spec.router.route.weight", "spec.router.scheduler.replicas",
    "spec.template.nodeSelector", "spec.template.containers[].name", "spec.template.containers[].image",
    "spec.template.containers[].args", "spec.template.containers[].env[].name",
    "spec.template.containers[].env[].value", "spec.template.containers[].resources.*",
    "spec.template.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.*",
)  # fmt: skip
RAY = """
import json, warnings
warnings.simplefilter("ignore")
from ray import __version__
from ray.llm._internal.serve.core.configs.llm_config import LLMConfig
from ray.serve.schema import ServeDeploySchema
from ray.util.accelerators import accelerators
types = sorted(value for name, value in vars(accelerators).items() if name.startswith("NVIDIA_"))
models = LLMConfig.model_json_schema(), ServeDeploySchema.model_json_schema()
print(json.dumps([__version__, *models, types]))
"""


def plain(schema: Any) -> Any:
    """A schema without descriptions, examples and defaults; a property may have one of these names."""
    if isinstance(schema, list):
        return [plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "properties":
            found[key] = {name: plain(one) for name, one in value.items()}
        elif key not in ("description", "title", "default", "examples", "$schema"):
            found[key] = plain(value)
    return found


def kept(schema: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    """What of an object's schema lies on the paths."""
    if "*" in paths or "" in paths:
        return schema
    if "items" in schema:
        return {**schema, "items": kept(schema["items"], [one.removeprefix("[]").lstrip(".") for one in paths])}
    by_name: dict[str, list[str]] = {}
    for path in paths:
        name = re.split(r"[.\[]", path)[0]
        by_name.setdefault(name, []).append(path[len(name) :].removeprefix("."))
    properties = {name: kept(schema["properties"][name], rest) for name, rest in by_name.items()}
    return {**schema, "properties": properties}


def closed(schema: Any) -> Any:
    """A schema that refuses what it does not name, as ``kubectl --validate=strict`` does."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        key: {name: closed(one) for name, one in value.items()} if key == "properties" else closed(value)
        for key, value in schema.items()
    }
    if "properties" in found and "additionalProperties" not in found:
        found["additionalProperties"] = False
    return found


def shown(repository: Path, path: str) -> tuple[str, str]:
    """(a file's text, the commit it is of)."""
    git = ["git", "-C", str(repository)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    text = subprocess.run([*git, "show", f"HEAD:{path}"], check=True, capture_output=True, text=True).stdout
    return text, commit


def production_stack(repository: Path) -> dict[str, Any]:
    """The chart's values: the engine's and the router's."""
    path = "helm/values.schema.json"
    text, commit = shown(repository, path)
    version = yaml.safe_load(shown(repository, "helm/Chart.yaml")[0])["version"]
    found = plain(json.loads(text))
    found["properties"] = {name: found["properties"][name] for name in ("servingEngineSpec", "routerSpec")}
    source = f"vllm-project/production-stack {version}, {path}, commit {commit}; Apache-2.0"
    return {"$comment": source, **closed(found)}


def kserve(repository: Path) -> dict[str, Any]:
    """The custom resource, of the version that is stored."""
    path = "config/crd/full/llmisvc/serving.kserve.io_llminferenceservices.yaml"
    text, commit = shown(repository, path)
    versions = yaml.safe_load(text)["spec"]["versions"]
    stored = next(one for one in versions if one["storage"])
    found = kept(plain(stored["schema"]["openAPIV3Schema"]), list(KEPT))
    found["properties"]["apiVersion"] = {"const": f"serving.kserve.io/{stored['name']}"}
    found["properties"]["kind"] = {"const": "LLMInferenceService"}
    return {"$comment": f"kserve/kserve, {path}, commit {commit}; Apache-2.0", **closed(found)}


def ray(python: Path) -> dict[str, Any]:
    """A configuration of Ray Serve whose one application takes LLMConfigs."""
    made = subprocess.run([python, "-c", RAY], check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    version, config, serve, types = json.loads(made)
    definitions = {**plain(config.pop("$defs")), **plain(serve.pop("$defs")), "LLMConfig": plain(config)}
    definitions["LLMConfig"]["properties"]["accelerator_type"] = {"enum": types}
    loading = {"$ref": "#/$defs/ModelLoadingConfig"}  # the field takes any object, and is validated as this one
    definitions["LLMConfig"]["properties"]["model_loading_config"] = loading
    arguments = {"properties": {"llm_configs": {"type": "array", "items": {"$ref": "#/$defs/LLMConfig"}}}}
    application = definitions["ServeApplicationSchema"]
    application["properties"]["args"] = {"type": "object", "required": ["llm_configs"], **closed(arguments)}
    source = f"ray {version}, model_json_schema of LLMConfig and ServeDeploySchema, NVIDIA's names; Apache-2.0"
    return {"$comment": source, **plain(serve), "$defs": definitions}


def _wheel(folder: Path, name: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(folder.glob(f"{name}-*.whl")))


def _version(wheel: zipfile.ZipFile) -> str:
    return Path(str(wheel.filename)).name.split("-")[1]


def arguments(folder: Path) -> dict[str, Any]:
    """The options of the servers: fields of SGLang's and vLLM's arguments, the router's as they are added."""
    sglang, router, vllm = (_wheel(folder, name) for name in ("sglang", "sglang_router", "vllm"))
    fields = "".join(sglang.read(one).decode() for one in sglang.namelist() if "/srt/arg_groups/fields/" in one)
    whole = sglang.read("sglang/srt/server_args.py").decode() + fields
    server = {name.replace("_", "-") for name in re.findall(r"(?m)^    (\w+): A\[", fields)}
    server |= set(re.findall(r'"--([a-z-]+)"', whole))
    routed = router.read("sglang_router/router_args.py").decode()
    engine = vllm.read("vllm/engine/arg_utils.py").decode()
    own = engine[engine.index("class EngineArgs") : engine.index("def __post_init__", engine.index("class EngineArgs"))]
    found = {
        f"sglang {_version(sglang)}": sorted(server),
        f"sglang-router {_version(router)}": sorted(
            {*re.findall(r'"--([a-z-]+)"', routed), *re.findall(r'f"--{prefix}([a-z-]+)"', routed)}
        ),
        f"vllm {_version(vllm)}": sorted(name.replace("_", "-") for name in re.findall(r"(?m)^    (\w+): ", own)),
    }
    return {"$comment": "options by released wheel; Apache-2.0", **found}


def main() -> None:
    """Write a file for each stack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("production-stack", "kserve", "ray", "wheels"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    for name, made in (
        ("production-stack", production_stack(given.production_stack)),
        ("kserve", kserve(given.kserve)),
        ("ray-serve", ray(given.ray)),
        ("arguments", arguments(given.wheels)),
    ):
        (OUT / f"{name}.json").write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
