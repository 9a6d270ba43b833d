# Writes distillation.json beside it: losses of a toy student against a teacher's packed answers and their gradients, by PyTorch's autograd in f64. Cases with "trl": the
# loss is TRL's GKDTrainer.generalized_jsd_loss over all tokens; with "hiddenWeight": the distance of the hidden states through a drawn projection is added.
# Run: PYTHON tests/golden/distillation.py   (PYTHON: the environment of `stillroom bench setup pytorch`)
import ast
import base64
import json
import sys
import textwrap
import zlib
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "gradients"))
from toys import CASES, base_model, gguf_order, noise, rows, with_adapter  # noqa: E402

STEPS, CODE_BITS, FLOOR = 512, 14, np.exp(-32.0)
KEPT = ["blk.0.attn_q.lora_a", "blk.1.ffn_down.lora_b"]
TRIALS = [
    dict(loss="forward_kl", beta=0.5, temperature=1.0, labelWeight=0.0, topK=8),
    dict(loss="forward_kl", beta=0.5, temperature=2.0, labelWeight=0.3, topK=1),
    dict(loss="reverse_kl", beta=0.5, temperature=1.0, labelWeight=0.0, topK=8),
    dict(loss="reverse_kl", beta=0.5, temperature=3.0, labelWeight=0.5, topK=20),
    dict(loss="jsd", beta=0.1, temperature=1.0, labelWeight=0.0, topK=8),
    dict(loss="jsd", beta=0.9, temperature=0.7, labelWeight=0.2, topK=5),
    # TRL calls the ends of its beta by the two divergences.
    dict(loss="forward_kl", beta=0.5, temperature=1.0, labelWeight=0.0, topK=97, trl=0.0),
    dict(loss="reverse_kl", beta=0.5, temperature=2.0, labelWeight=0.0, topK=97, trl=1.0),
    dict(loss="jsd", beta=0.3, temperature=1.0, labelWeight=0.0, topK=97, trl=0.3),
    dict(loss="jsd", beta=0.8, temperature=1.5, labelWeight=0.0, topK=97, trl=0.8),
    dict(loss="forward_kl", beta=0.5, temperature=1.0, labelWeight=0.0, topK=8, tail="sample"),
    dict(loss="forward_kl", beta=0.5, temperature=2.0, labelWeight=0.3, topK=5, tail="sample"),
    dict(loss="forward_kl", beta=0.5, temperature=1.0, labelWeight=0.5, topK=40, tail="sample"),
    dict(loss="forward_kl", beta=0.5, temperature=1.0, labelWeight=0.0, topK=97, tail="sample", trl=0.0),
    # A teacher that is narrower than the student, as wide, and wider.
    dict(loss="forward_kl", beta=0.5, temperature=2.0, labelWeight=0.3, topK=8, hiddenWeight=0.7, hiddenWidth=20),
    dict(loss="jsd", beta=0.4, temperature=1.0, labelWeight=0.0, topK=5, hiddenWeight=3.0, hiddenWidth=48),
    dict(loss="reverse_kl", beta=0.5, temperature=1.0, labelWeight=1.0, topK=1, hiddenWeight=0.05, hiddenWidth=77),
]


def generalized_jsd_loss():
    """TRL's function out of its file: importing that would ask for the trainer's other packages."""
    source = (Path(find_spec("trl").origin).parent / "experimental/gkd/gkd_trainer.py").read_text()
    found = next(n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == "generalized_jsd_loss")
    lines = source.splitlines()[found.lineno - 1 : found.end_lineno]
    names = dict(torch=torch, F=F)
    exec(textwrap.dedent("\n".join(lines)), names)
    return names["generalized_jsd_loss"]


THEIRS = generalized_jsd_loss()


def packed(array, kind):
    return base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode()


def teacher(name, vocabulary, temperature, k, tail):
    """Entries and tail of a position with drawn logits: docs/numerics.md."""
    logits = torch.from_numpy(10 * noise(name, vocabulary))
    log_p = torch.log_softmax(logits / temperature, 0).numpy()
    order = np.argsort(-log_p, kind="stable")
    kept, rest = (order[:k], np.exp(log_p[order[k:]]).sum()) if tail == "bucket" else sample(order, np.exp(log_p), k, zlib.crc32(name.encode()) / 2**32)
    codes = np.minimum(np.round(-log_p[kept] * STEPS), 2**CODE_BITS - 1).astype(np.uint32)
    return kept, codes, np.float32(rest)


def sample(order, p, k, draw):
    """The tokens that are kept, and the mass that a drawn one stands for."""
    if k == len(p):
        return order, 0.0
    behind = np.cumsum(p[order][::-1])[::-1]
    exact = next(m for m in range(k) if p[order[m]] * (k - m) <= behind[m])
    distance = behind[exact] / (k - exact)
    others = np.sort(order[exact:])
    drawn = others[np.searchsorted(np.cumsum(p[others]), (draw + np.arange(k - exact)) * distance, side="right")]
    return np.concatenate([order[:exact], drawn]), distance


def divergence(trial, p, q):
    if trial["loss"] == "forward_kl":
        return (p * (p / q).log()).sum()
    if trial["loss"] == "reverse_kl":
        return (q * (q / p).log()).sum()
    b = trial["beta"]
    m = b * p + (1 - b) * q
    return b * (p * (p / m).log()).sum() + (1 - b) * (q * (q / m).log()).sum()


def run(toy, trial):
    model, weights = with_adapter(base_model(toy), toy)
    model.double()
    total, entries, tails, states, distance = 0, [], [], [], 0
    heat, weight, kind, wide = trial["temperature"], trial["labelWeight"], trial["tail"], trial.get("hiddenWidth", 0)
    if wide:
        drawn = noise("projection.weight", wide * toy["width"]).astype(np.float32)
        weights["projection.weight"] = torch.from_numpy(drawn.astype(np.float64).reshape(wide, toy["width"])).requires_grad_()
    for row in rows(toy):
        out = model(input_ids=torch.tensor([row["tokens"]]), output_hidden_states=True)
        logits = out.logits[0]
        for label in row["labels"]:
            # One beginning, one teacher: it is drawn by the tokens before the label.
            name = "teacher." + ".".join(map(str, row["tokens"][:label]))
            order, codes, tail = teacher(name, toy["vocabulary"], heat, trial["topK"], kind)
            entries.append((order.astype(np.uint32) << CODE_BITS) | codes)
            tails.append(tail)
            mass = np.exp(-codes.astype(np.float64) / STEPS)
            z = logits[label - 1]
            q = torch.softmax(z / heat, 0)
            if kind == "sample":
                mass = np.maximum(mass, np.float64(tail))
                buckets = q[order.copy()]
            elif trial["topK"] < toy["vocabulary"]:
                mass = np.append(mass, np.float64(tail))
                others = torch.ones(toy["vocabulary"], dtype=bool)
                others[order.copy()] = False
                buckets = torch.cat([q[order.copy()], q[others].sum().reshape(1)])
            else:
                buckets = q[order.copy()]
            p = torch.from_numpy(np.maximum(mass / mass.sum(), FLOOR))
            if kind == "sample":
                own = torch.from_numpy(-codes.astype(np.float64) / STEPS - np.log(mass.sum()))
                d = (p * (own - buckets.log())).sum()
            else:
                d = divergence(trial, p, buckets)
            if "trl" in trial:
                # Logits whose softmax at this temperature is p.
                full = torch.empty(toy["vocabulary"], dtype=torch.float64)
                full[order.copy()] = heat * p.log()
                theirs = THEIRS(z[None, None], full[None, None], beta=trial["trl"], temperature=heat, reduction="sum")
                assert abs(theirs.item() - d.item()) < 1e-9, (theirs.item(), d.item())
                d = theirs
            total = total + (1 - weight) * heat**2 * d - weight * torch.log_softmax(z, 0)[row["tokens"][label]]
            if wide:
                # Behind the final norm: what the head reads.
                h = out.hidden_states[-1][0][label - 1]
                assert torch.allclose(model.get_output_embeddings()(h), z)
                states.append((4 * noise(f"state.{name}", wide)).astype(np.float16))
                t = torch.from_numpy(states[-1].astype(np.float64))
                distance = distance + ((weights["projection.weight"] @ h - t) ** 2).sum() / (t**2).sum()
    if wide:
        total = total + trial["hiddenWeight"] * distance
    total.backward()
    gradients = {
        name: dict(shape=list(weights[name].shape), data=packed(gguf_order(toy, name, weights[name].grad.float().numpy()), "<f4"))
        for name in [*KEPT, *(["projection.weight"] if wide else [])]
    }
    said = dict(entries=packed(np.stack(entries), "<u4"), tails=packed(np.array(tails), "<f4"))
    hidden = dict(states=packed(np.stack(states), "<f2"), hiddenSum=distance.item()) if wide else {}
    return dict(**trial, **said, **hidden, lossSum=total.item(), gradients=gradients)


if __name__ == "__main__":
    torch.set_num_threads(1)
    toy = next(case for case in CASES if case["name"] == "llama")
    content = dict(toy=toy, rows=rows(toy), trials=[run(toy, dict(tail="bucket") | trial) for trial in TRIALS], versions=dict(torch=torch.__version__, trl=version("trl")))
    (HERE / "distillation.json").write_text(json.dumps(content, indent=1) + "\n")
