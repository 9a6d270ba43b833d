# The peer of `tune`: LoRA by PyTorch + PEFT, or all weights by PyTorch, in f32, on the token rows, batches, rates and first weights of a job file.
# Run: PYTHON bench/peers/pytorch_tune.py JOB.json [--interactive]
# Job: model (GGUF), threads, rows [{tokens, answerFrom}], steps [{rows: [index], learningRate}], optimizer {beta1, beta2,
# epsilon, weightDecay, clipNorm}, adapter {folder (PEFT, that it starts from)} (null: all weights), out (folder for the result, or null),
# peer {microBatchRows, logits: "all" | "labels"}. Output: one JSON line ready, one a step, one done.
# With --interactive each step waits for a line on stdin, so that two sides can take turns.
import json
import sys
import time

import torch
from pytorch_common import open_model, pad, peak_memory_bytes, versions


def emit(**fields):
    print(json.dumps(fields), flush=True)


def micro_batches(indices, rows, size):
    """Rows of like length together, so that little is padded; the gradient of the step does not depend on it."""
    ordered = sorted(indices, key=lambda i: len(rows[i]["tokens"]))
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def targets(rows):
    """(rows, longest) of the tokens asked for, -100 elsewhere."""
    ids, _ = pad([[-100] * row["answerFrom"] + row["tokens"][row["answerFrom"] :] for row in rows], -100)
    return ids


def loss_of(model, rows, count, logits):
    """Cross-entropy summed over the labels of these rows and divided by the labels of the whole step."""
    ids, mask = pad([row["tokens"] for row in rows], 0)
    labels = targets(rows)
    if logits == "all":  # as transformers' own Trainer calls it
        return model(input_ids=ids, attention_mask=mask, labels=labels, num_items_in_batch=count).loss, ids.numel()
    decoder = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = decoder.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
    asked = labels[:, 1:] != -100
    scores = decoder.lm_head(hidden[asked])
    return torch.nn.functional.cross_entropy(scores, labels[:, 1:][asked], reduction="sum") / count, len(scores)


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    interactive = "--interactive" in sys.argv
    rows, peer, options = job["rows"], job["peer"], job["optimizer"]
    adapter = job["adapter"] and job["adapter"]["folder"]
    model = open_model(job["model"], adapter, True, job["threads"])
    parameters = [p for p in model.parameters() if p.requires_grad]
    adamw = torch.optim.AdamW(
        parameters, lr=0.0, betas=(options["beta1"], options["beta2"]), eps=options["epsilon"],
        weight_decay=options["weightDecay"], fused=adapter is None or None,
    )  # fmt: skip
    emit(event="ready", versions=versions(), parameters=sum(p.numel() for p in parameters), load_peak_memory_bytes=peak_memory_bytes())
    began = time.perf_counter()
    tokens = count_rows = 0
    for index, step in enumerate(job["steps"]):
        if interactive and not sys.stdin.readline():
            break
        start = time.perf_counter()
        labels = sum(len(rows[i]["tokens"]) - rows[i]["answerFrom"] for i in step["rows"])
        total = 0.0
        work = dict(tokens=0, pairs=0, logits=0)  # what was computed, padding included
        for batch in micro_batches(step["rows"], rows, peer["microBatchRows"]):
            chosen = [rows[i] for i in batch]
            loss, logits = loss_of(model, chosen, labels, peer["logits"])
            loss.backward()
            total += loss.item()
            longest = max(len(row["tokens"]) for row in chosen)
            work["tokens"] += longest * len(chosen)
            work["pairs"] += longest * (longest + 1) // 2 * len(chosen)
            work["logits"] += logits
        norm = None
        if options["clipNorm"] > 0:
            norm = torch.nn.utils.clip_grad_norm_(parameters, options["clipNorm"]).item()
        for group in adamw.param_groups:
            group["lr"] = step["learningRate"]
        adamw.step()
        adamw.zero_grad()
        seconds = time.perf_counter() - start
        step_tokens = sum(len(rows[i]["tokens"]) for i in step["rows"])
        tokens += step_tokens
        count_rows += len(step["rows"])
        emit(event="step", step=index, loss=total, gradient_norm=norm, labels=labels, rows=len(step["rows"]),
             tokens=step_tokens, seconds=seconds, work=work)  # fmt: skip
    seconds = time.perf_counter() - began
    if job["out"]:
        model.save_pretrained(job["out"])
    emit(event="done", rows=count_rows, tokens=tokens, seconds=seconds, rows_per_second=count_rows / seconds,
         tokens_per_second=tokens / seconds, peak_memory_bytes=peak_memory_bytes())  # fmt: skip


if __name__ == "__main__":
    main()
