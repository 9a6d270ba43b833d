# Writes the *.json beside it, full/*.json, ../optimizer.json and ../optimizer-full.json: loss, gradients (of a LoRA; of all weights)
# and five AdamW steps of the toys, by PyTorch + PEFT in f32.
# Run: PYTHON tests/golden/gradients/gradients.py   (PYTHON: the environment that `stillroom bench setup pytorch` makes)
import base64
import json
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from toys import CASES, FULL_CASES, base_model, gguf_order, loss_sum, rows, with_adapter, with_weights

HERE = Path(__file__).parent
VERSIONS = dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__)


def packed(toy, values):
    """Tensors by GGUF name as { shape, data: base64 of little-endian f32 }."""
    out = {}
    for name, value in values.items():
        array = np.atleast_2d(gguf_order(toy, name, value.detach().float().numpy()))
        data = np.ascontiguousarray(array, dtype="<f4").tobytes()
        out[name] = dict(shape=list(array.shape), data=base64.b64encode(data).decode())
    return out


def write(path, content):
    path.write_text(json.dumps(content, indent=1) + "\n")


def adapted(toy):
    return with_adapter(base_model(toy), toy)


def whole(toy):
    return with_weights(base_model(toy))


def gradients(toy, trained, dtype):
    model, weights = trained(toy)
    model.to(dtype)
    loss = loss_sum(model, rows(toy))
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in weights.items()}


def gradient_files(folder, cases, trained):
    for toy in cases:
        loss, grads = gradients(toy, trained, torch.float32)
        exact_loss, exact = gradients(toy, trained, torch.float64)
        worst = max((torch.linalg.norm(grads[n].double() - exact[n]) / torch.linalg.norm(exact[n])).item() for n in exact)
        print(f"{toy['name']}: loss {loss:.6f} (f64 {exact_loss:.6f}), f32 gradients within {worst:.1e} of f64")
        assert worst < 2e-5, "f32 itself is too coarse here to be a reference"
        batch = rows(toy)
        write(folder / f"{toy['name']}.json", dict(
            **toy, rows=batch, lossSum=loss, labelCount=sum(len(r["labels"]) for r in batch),
            gradients=packed(toy, grads), versions=VERSIONS,
        ))  # fmt: skip


def optimizer_file(path, toy, trained, options):
    """Five steps on one toy; the clip norm lies among the five gradient norms, so that some steps are clipped and some are not."""
    model, weights = trained(toy)
    parameters = list(weights.values())
    adamw = torch.optim.AdamW(
        parameters, lr=options["learningRate"], betas=(options["beta1"], options["beta2"]), eps=options["epsilon"],
        weight_decay=options["weightDecay"], foreach=False,
    )  # fmt: skip
    steps = []
    for step in range(5):
        batch = rows(toy, f"step{step}")
        count = sum(len(row["labels"]) for row in batch)
        loss = loss_sum(model, batch) / count
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, options["clipNorm"]).item()
        adamw.step()
        adamw.zero_grad()
        steps.append(dict(rows=batch, labelCount=count, loss=loss.item(), gradientNorm=norm))
        print(f"AdamW step {step}: loss {loss.item():.6f}, gradient norm {norm:.4f}")
    assert any(s["gradientNorm"] > options["clipNorm"] for s in steps), "no step was clipped"
    assert any(s["gradientNorm"] < options["clipNorm"] for s in steps), "every step was clipped"
    write(path, dict(toy=toy, options=options, steps=steps, weights=packed(toy, weights), versions=VERSIONS))


def named(cases, name):
    return next(case for case in cases if case["name"] == name)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    gradient_files(HERE, CASES, adapted)
    gradient_files(HERE / "full", FULL_CASES, whole)
    options = dict(learningRate=0.01, beta1=0.9, beta2=0.98, epsilon=1e-8, weightDecay=0.1, clipNorm=12.0)
    optimizer_file(HERE.parent / "optimizer.json", named(CASES, "llama-factors"), adapted, options)
    optimizer_file(HERE.parent / "optimizer-full.json", named(FULL_CASES, "qwen2-tied"), whole, {**options, "clipNorm": 5.0})
