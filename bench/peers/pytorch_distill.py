# The peer of `distill`: teacher and student resident, KL(teacher || student) over the whole vocabulary, all weights of the student by AdamW, in f32, on the rows of a job
# file. Run: PYTHON bench/peers/pytorch_distill.py JOB.json: each step waits for a line on stdin.
# Job: teacher, student (GGUF), threads, rows [{tokens, answerFrom}], steps [{rows: [index], learningRate}], optimizer. Output: one JSON line ready, one a step, one done.
import ctypes
import json
import sys
import time

import torch
import torch.nn.functional as F
from pytorch_common import open_model, pad, peak_memory_bytes, versions


def emit(**fields):
    print(json.dumps(fields), flush=True)


def asked_of(rows):
    """(rows, longest) whether the next token is a label."""
    longest = max(len(row["tokens"]) for row in rows)
    return torch.tensor([[row["answerFrom"] <= at + 1 < len(row["tokens"]) for at in range(longest)] for row in rows])


def dense_loss(student, teacher):
    """Sum over positions, as TRL's GKD has it at beta 0."""
    return F.kl_div(F.log_softmax(student, -1), F.log_softmax(teacher, -1), reduction="sum", log_target=True)


def resident(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def loss_memory(model, hidden, teacher_hidden, teacher):
    """How far the process grows from the states behind the final norm to the gradient at the student's."""
    hidden = hidden.detach().requires_grad_()
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return None
    ctypes.CDLL(None).malloc_trim(0)  # what is free already would hide what is taken now
    before = resident("VmRSS")
    with torch.no_grad():
        wanted = teacher.lm_head(teacher_hidden)
    dense_loss(model.lm_head(hidden), wanted).backward()
    return resident("VmHWM") - before


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    rows, options = job["rows"], job["optimizer"]
    teacher = open_model(job["teacher"], None, False, job["threads"])
    student = open_model(job["student"], None, True, job["threads"])
    adamw = torch.optim.AdamW(
        student.parameters(), lr=0.0, betas=(options["beta1"], options["beta2"]), eps=options["epsilon"],
        weight_decay=options["weightDecay"], fused=True,
    )  # fmt: skip
    emit(event="ready", versions=versions())
    for step in job["steps"]:
        if not sys.stdin.readline():
            break
        start = time.perf_counter()
        chosen = [rows[i] for i in step["rows"]]
        ids, mask = pad([row["tokens"] for row in chosen], 0)
        asked = asked_of(chosen)
        with torch.no_grad():
            theirs = teacher(input_ids=ids, attention_mask=mask).logits[asked]
        ours = student(input_ids=ids, attention_mask=mask).logits[asked]
        labels = int(asked.sum())
        loss = dense_loss(ours, theirs) / labels
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), options["clipNorm"])
        for group in adamw.param_groups:
            group["lr"] = step["learningRate"]
        adamw.step()
        adamw.zero_grad(set_to_none=False)
        value = loss.item()
        del loss, ours, theirs
        emit(event="step", loss=value, labels=labels, rows=len(chosen), tokens=sum(len(row["tokens"]) for row in chosen),
             teach_seconds=None, seconds=time.perf_counter() - start)  # fmt: skip
    peak = peak_memory_bytes()
    with torch.no_grad():
        states = [model.model(input_ids=ids, attention_mask=mask).last_hidden_state[asked] for model in (student, teacher)]
    emit(event="done", peak_memory_bytes=peak, loss_memory_bytes=loss_memory(student, *states, teacher))


if __name__ == "__main__":
    main()
