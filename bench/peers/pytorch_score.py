# The peer of the scoring trial: label log-probabilities by transformers in f32. Run: PYTHON bench/peers/pytorch_score.py JOB.json
# Job: model (GGUF), threads, rows [{prompt: [id], choices: [[id]]}], turns [[row]], peer {batchRows, prefix}. prefix: the beginning that
# all rows of a turn share is computed once into transformers' cache. Output: one JSON line ready, one a turn, one done.
import copy
import json
import os
import sys
import time

import torch
from pytorch_common import open_model, pad, peak_memory_bytes, versions
from pytorch_eval import collect, key_of


def emit(**fields):
    print(json.dumps(fields), flush=True)


def fill(decoder, wanted, batch_rows, prefix):
    order = sorted(wanted, key=lambda key: len(key[0]))
    shared = len(os.path.commonprefix([list(tokens[: first]) for tokens, first in order])) if prefix else 0
    kept = None
    if shared:
        kept = decoder.model(input_ids=torch.tensor([order[0][0][:shared]]), use_cache=True).past_key_values
    for start in range(0, len(order), batch_rows):
        batch = order[start : start + batch_rows]
        ids, mask = pad([list(tokens[shared:]) for tokens, _ in batch], 0)
        cache = None
        if kept is not None:
            cache = copy.deepcopy(kept)
            cache.batch_repeat_interleave(len(batch))
            mask = torch.cat([torch.ones(len(batch), shared, dtype=torch.long), torch.ones_like(ids) if mask is None else mask], 1)
        hidden = decoder.model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=cache is not None
        ).last_hidden_state
        for row, (tokens, first) in enumerate(batch):
            table = torch.log_softmax(decoder.lm_head(hidden[row, first - shared : len(tokens) - shared]), dim=-1)
            for at, token in wanted[tokens, first]:
                wanted[tokens, first][at, token] = table[at, token].item()


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    decoder = open_model(job["model"], None, False, job["threads"])
    emit(event="ready", versions=versions())
    for turn in job["turns"]:
        if not sys.stdin.readline():
            break
        start = time.perf_counter()
        rows = [job["rows"][index] for index in turn]
        wanted = collect(rows)
        with torch.no_grad():
            fill(decoder, wanted, job["peer"]["batchRows"], job["peer"]["prefix"])
        means = [
            [sum(wanted[key_of(row, c)][at, token] for at, token in enumerate(c)) / len(c) for c in row["choices"]]
            for row in rows
        ]
        tokens = sum(len(row["prompt"]) + sum(len(c) for c in row["choices"]) for row in rows)
        emit(event="step", means=means, tokens=tokens, seconds=time.perf_counter() - start)
    emit(event="done", peak_memory_bytes=peak_memory_bytes())


if __name__ == "__main__":
    main()
