# The peer of `eval` for classify: log-probabilities of each label's tokens by transformers, with or without a PEFT folder.
# Run: PYTHON bench/peers/pytorch_eval.py JOB.json
# Job: model (GGUF), adapter (PEFT folder or null), threads, batchRows, rows [{prompt: [id], choices: [[id]], answer: index}],
# predictions (file for one JSON line a row, or null). Output: one JSON object.
import json
import sys
import time

import torch
from pytorch_common import open_model, pad, peak_memory_bytes, versions


def collect(rows):
    """What has to be computed: inputs (prompt and all but the last token of a choice), each with the tokens asked for, as
    {(tokens, first): {(position after the prompt, token): log-probability}}. Choices of one token share one input."""
    wanted = {}
    for row in rows:
        for choice in row["choices"]:
            asked = wanted.setdefault(key_of(row, choice), {})
            asked.update({(at, token): None for at, token in enumerate(choice)})
    return wanted


def key_of(row, choice):
    return tuple(row["prompt"] + choice[:-1]), len(row["prompt"]) - 1


def fill(decoder, wanted, batch_rows):
    order = sorted(wanted, key=lambda key: len(key[0]))
    for start in range(0, len(order), batch_rows):
        batch = order[start : start + batch_rows]
        ids, mask = pad([list(tokens) for tokens, _ in batch], 0)
        hidden = decoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
        for row, (tokens, first) in enumerate(batch):
            table = torch.log_softmax(decoder.lm_head(hidden[row, first : len(tokens)]).double(), dim=-1)
            for at, token in wanted[tokens, first]:
                wanted[tokens, first][at, token] = table[at, token].item()


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    model = open_model(job["model"], job["adapter"], False, job["threads"])
    decoder = model if job["adapter"] is None else model.get_base_model()
    began = time.perf_counter()
    wanted = collect(job["rows"])
    with torch.no_grad():
        fill(decoder, wanted, job["batchRows"])
    lines, right, right_normalised, log_loss = [], 0, 0, 0.0
    for number, row in enumerate(job["rows"]):
        sums = [
            sum(wanted[key_of(row, choice)][at, token] for at, token in enumerate(choice)) for choice in row["choices"]
        ]
        means = [total / len(choice) for total, choice in zip(sums, row["choices"])]
        best = max(range(len(sums)), key=sums.__getitem__)
        best_mean = max(range(len(means)), key=means.__getitem__)
        right += best == row["answer"]
        right_normalised += best_mean == row["answer"]
        log_loss -= torch.log_softmax(torch.tensor(sums, dtype=torch.float64), 0)[row["answer"]].item()
        lines.append(dict(index=number, answer=row["answer"], prediction=best, log_probabilities=sums))
    if job["predictions"]:
        with open(job["predictions"], "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    seconds, rows = time.perf_counter() - began, len(lines)
    print(json.dumps(dict(
        rows=rows, accuracy=right / rows, accuracy_length_normalised=right_normalised / rows, log_loss=log_loss / rows,
        seconds=seconds, rows_per_second=rows / seconds, peak_memory_bytes=peak_memory_bytes(), versions=versions(),
    )))  # fmt: skip


if __name__ == "__main__":
    main()
