"""The plan of a job follows from its spec and the machine, and says why."""

import json
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from models.spec import JobSpec, parse_spec
from worker import plan as plans
from worker.plan import Plan, bfloat16_flags, plan_for

END = {"type": "dense", "units": 10, "activation": "softmax"}
SMALL = ["flatten", {"type": "dense", "units": 32, "activation": "relu"}, END]
DROPOUT = {"type": "dropout", "rate": 0.2}
LARGE = ["flatten", *({"type": "dense", "units": 784, "activation": "sigmoid"} for _ in range(2)), END]
CONVOLUTION = [{"type": "conv2d", "filters": 2, "kernel_size": 3}, "flatten", END]
RECURRENT = [{"type": "reshape", "target_shape": [28, 28]}, {"type": "lstm", "units": 8}, END]
# 54,000 examples are left to train on: 1,688 batches of 32, 270 of 200.
FEW, MANY = {"batch_size": 32, "epochs": 2}, {"batch_size": 32, "epochs": 5}


def spec_of(layers: list[Any], **changes: Any) -> JobSpec:
    return parse_spec({"dataset": "mnist", "network": {"layers": layers}} | changes)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that multiplies bfloat16, and no GPU."""
    monkeypatch.setattr(plans, "bfloat16_flags", lambda: ("avx512_bf16",))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])


@pytest.mark.parametrize(
    ("layers", "changes", "xla", "reason"),
    [
        pytest.param(SMALL, MANY, "chunk", "8440 steps of a small network repay", id="small"),
        pytest.param(SMALL, FEW, "none", "3376 steps do not repay compiling", id="small, few steps"),
        pytest.param([DROPOUT, *SMALL], MANY, "none", "programs of dropout", id="dropout"),
        pytest.param(SMALL, MANY | {"metrics": ["auc"]}, "none", "metric auc", id="auc"),
        pytest.param(
            SMALL, MANY | {"metrics": ["accuracy", "top_k_categorical_accuracy"]}, "none", "top_k", id="top k"
        ),
        pytest.param(
            SMALL,
            MANY | {"dataset": {"name": "mnist", "augmentation": {"rotation": 0.1}}},
            "none",
            "augmentation",
            id="augmentation",
        ),
        pytest.param(SMALL, MANY | {"precision": "mixed_float16"}, "none", "cannot skip a batch", id="float16"),
        pytest.param(SMALL, MANY | {"precision": "mixed_bfloat16"}, "none", "bfloat16 slowly", id="bfloat16"),
        pytest.param(LARGE, {"batch_size": 200, "epochs": 2}, "update", "1238730 weights are many", id="large"),
        pytest.param(LARGE, {"batch_size": 200, "epochs": 1}, "none", "270 steps do not repay", id="large, few steps"),
        pytest.param(LARGE, {"batch_size": 200, "epochs": 15}, "chunk", "4050 steps", id="large, many steps"),
        pytest.param(LARGE, {"batch_size": "full", "epochs": 90}, "none", "as quick without", id="huge batches"),
        pytest.param(
            LARGE,
            {"batch_size": 200, "epochs": 6, "precision": "mixed_bfloat16"},
            "update",
            "weights are many",
            id="large, bfloat16",
        ),
        pytest.param(CONVOLUTION, {"batch_size": 1, "epochs": 100}, "none", "programs of conv2d", id="convolution"),
        pytest.param(RECURRENT, {"batch_size": 1, "epochs": 100}, "none", "programs of lstm", id="recurrent"),
    ],
)
def test_what_xla_compiles(layers: list[Any], changes: dict[str, Any], xla: str, reason: str) -> None:
    plan = plan_for(spec_of(layers, **changes))
    assert plan.xla == xla
    assert reason in plan.reasons[-1]


@pytest.mark.parametrize(
    "layer",
    [
        {"type": "conv2d", "filters": 300, "kernel_size": 3},
        {"type": "depthwise_conv2d", "kernel_size": 3},
        {"type": "separable_conv2d", "filters": 2, "kernel_size": 3},
    ],
    ids=lambda layer: str(layer["type"]),
)
@pytest.mark.parametrize("epochs", [1, 100_000])
def test_a_convolution_is_never_part_of_a_program(layer: dict[str, Any], epochs: int) -> None:
    plan = plan_for(spec_of([layer, "flatten", END], batch_size=1, epochs=epochs))
    assert plan.xla != "chunk"


@pytest.mark.parametrize(
    ("layers", "batch_size", "name", "needed"),
    [(SMALL, 32, "CHUNK_STEPS", 16_880), (LARGE, 200, "UPDATE_WORK", 2_700 * 1_238_730)],
    ids=["chunk", "update"],
)
def test_as_many_steps_as_repay_compiling_are_enough(
    monkeypatch: pytest.MonkeyPatch, layers: list[Any], batch_size: int, name: str, needed: int
) -> None:
    spec = spec_of(layers, batch_size=batch_size, epochs=10)
    monkeypatch.setattr(plans, name, needed)
    assert plan_for(spec).xla != "none"
    monkeypatch.setattr(plans, name, needed + 1)
    assert plan_for(spec).xla == "none"


@pytest.mark.parametrize(
    ("layers", "changes", "precision", "reason"),
    [
        pytest.param(LARGE, {"batch_size": 200}, "mixed_bfloat16", "avx512_bf16", id="large"),
        pytest.param(SMALL, {"batch_size": 32}, "float32", "too small", id="small"),
        pytest.param(RECURRENT, {"batch_size": 1000}, "float32", "recurrent", id="recurrent"),
        pytest.param(
            [{"type": "conv2d", "filters": 32, "kernel_size": 3}, "flatten", END],
            {"batch_size": 128},
            "mixed_bfloat16",
            "avx512_bf16",
            id="convolution",
        ),
    ],
)
def test_auto_takes_bfloat16_where_it_gains(
    layers: list[Any], changes: dict[str, Any], precision: str, reason: str
) -> None:
    plan = plan_for(spec_of(layers, precision="auto", **changes))
    assert plan.precision == precision
    assert precision in plan.reasons[0]
    assert reason in plan.reasons[0]


def test_auto_means_float32_on_a_processor_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "bfloat16_flags", lambda: ())
    plan = plan_for(spec_of(LARGE, batch_size=200, precision="auto"))
    assert plan.precision == "float32"
    assert "does not multiply bfloat16" in plan.reasons[0]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_what_the_spec_says_is_kept_on_every_processor(monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    for flags in ((), ("amx_bf16",)):
        monkeypatch.setattr(plans, "bfloat16_flags", lambda flags=flags: flags)
        plan = plan_for(spec_of(LARGE, batch_size=200, precision=precision))
        slow = precision == "mixed_float16" or (precision == "mixed_bfloat16" and not flags)
        said = f"{precision}, as the spec says" + (", which this processor computes slowly" if slow else "")
        assert (plan.precision, plan.reasons[0]) == (precision, said)


def test_a_gpu_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    monkeypatch.setattr(plans, "bfloat16_flags", lambda: ())
    for capability, precision in (((8, 0), "mixed_bfloat16"), ((7, 5), "float32")):
        details = {"compute_capability": capability}
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu, told=details: told)
        plan = plan_for(spec_of(SMALL, **MANY, precision="auto"))
        assert (plan.device, plan.xla, plan.precision) == ("gpu", "none", precision)
    on_cpu = plan_for(spec_of(SMALL, **MANY, precision="auto", device="cpu"))
    assert (on_cpu.device, on_cpu.xla, on_cpu.precision) == ("cpu", "chunk", "float32")


@pytest.mark.parametrize("layers", [SMALL, LARGE, CONVOLUTION, RECURRENT], ids=["small", "large", "conv", "lstm"])
def test_a_plan_is_the_same_each_time_and_survives_its_record(layers: list[Any]) -> None:
    spec = spec_of(layers, precision="auto")
    plan = plan_for(spec)
    assert plan == plan_for(parse_spec(spec.model_dump(mode="json")))
    facts = json.loads(json.dumps(plan.facts(17)))
    assert facts["batches_per_chunk"] == 17
    assert Plan.from_facts(facts) == plan
    assert len(plan.reasons) == 2
    assert plan.threads >= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor: 0\nflags\t\t: fpu avx512_bf16 amx_bf16 sse\n", ("amx_bf16", "avx512_bf16")),
        ("flags : fpu sse\n", ()),
        ("Features : asimd bf16\n", ()),
        (None, ()),
    ],
)
def test_what_a_processor_multiplies_is_read_from_its_flags(
    monkeypatch: pytest.MonkeyPatch, text: str | None, expected: tuple[str, ...]
) -> None:
    def read_text(self: Any) -> str:
        if text is None:
            raise FileNotFoundError
        return text

    monkeypatch.setattr(Path, "read_text", read_text)
    bfloat16_flags.cache_clear()
    try:
        assert bfloat16_flags() == expected
    finally:
        bfloat16_flags.cache_clear()
