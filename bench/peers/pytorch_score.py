# The peer of the scoring trial: label log-probabilities by transformers in f32. Run: PYTHON bench/peers/pytorch_score.py JOB.json
# Job: model (GGUF), threads, rows [{prompt: [id], choices: [[id]]}], turns [[row]], peer {batchRows, prefix}. prefix: what rows and
# choices share is computed once, into transformers' cache. Output: one JSON line ready, one a turn, one done.
import copy
import json
import os
import sys
import time

import torch
import transformers
from pytorch_common import open_model, pad, peak_memory_bytes, versions
from pytorch_eval import collect, key_of


def emit(**fields):
    print(json.dumps(fields), flush=True)


def fill(decoder, wanted, batch_rows):
    """Every prompt and choice as a row of its own."""
    order = sorted(wanted, key=lambda key: len(key[0]))
    for start in range(0, len(order), batch_rows):
        batch = order[start : start + batch_rows]
        hidden = run(decoder, [list(tokens) for tokens, _ in batch], None, 0)
        for row, (tokens, first) in enumerate(batch):
            read(decoder, wanted[tokens, first], hidden[row, first : len(tokens)], 0)


def fill_from_cache(decoder, wanted, batch_rows):
    """The beginning that all prompts share is computed once. Where a choice has several tokens, so is each prompt; choices are rows behind it."""
    prompts = {}
    for tokens, first in wanted:
        prompts.setdefault(tokens[: first + 1], []).append((tokens, first))
    order = sorted(prompts, key=len)
    shared = min(len(os.path.commonprefix([list(tokens) for tokens in order])), len(order[0]) - 1)
    kept = transformers.DynamicCache(config=decoder.config)
    if shared:
        run(decoder, [list(order[0][:shared])], kept, 0)
    long = any(len(tokens) > first + 1 for tokens, first in wanted)
    for start in range(0, len(order), 1 if long else batch_rows):
        batch = order[start : start + (1 if long else batch_rows)]
        cache = copy.deepcopy(kept)
        if shared:
            cache.batch_repeat_interleave(len(batch))
        hidden = run(decoder, [list(tokens[shared:]) for tokens in batch], cache, shared)
        for row, tokens in enumerate(batch):
            for key in prompts[tokens]:
                at = len(tokens) - 1 - shared
                read(decoder, wanted[key], hidden[row, at : at + 1], 0)
        branches = [key for key in prompts[batch[0]] if len(key[0]) > key[1] + 1]
        if branches:
            cache.batch_repeat_interleave(len(branches))
            hidden = run(decoder, [list(tokens[first + 1 :]) for tokens, first in branches], cache, len(batch[0]))
            for row, (tokens, first) in enumerate(branches):
                read(decoder, wanted[tokens, first], hidden[row, : len(tokens) - first - 1], 1)


def run(decoder, rows, cache, before):
    """(rows, longest, width) hidden states behind what a cache holds of `before` tokens."""
    ids, mask = pad(rows, 0)
    if before and mask is not None:
        mask = torch.cat([torch.ones(len(rows), before, dtype=torch.long), mask], 1)
    return decoder.model(
        input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=cache is not None
    ).last_hidden_state


def read(decoder, asked, hidden, first):
    """Puts the log-probabilities of the tokens asked for at places from `first` on into `asked`; hidden is (places, width)."""
    table = torch.log_softmax(decoder.lm_head(hidden), dim=-1)
    for at, token in asked:
        if first <= at < first + len(table):
            asked[at, token] = table[at - first, token].item()


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
            (fill_from_cache if job["peer"]["prefix"] else fill)(decoder, wanted, job["peer"]["batchRows"])
        means = [
            [sum(wanted[key_of(row, c)][at, token] for at, token in enumerate(c)) / len(c) for c in row["choices"]]
            for row in rows
        ]
        tokens = sum(len(row["prompt"]) + sum(len(c) for c in row["choices"]) for row in rows)
        emit(event="step", means=means, tokens=tokens, seconds=time.perf_counter() - start)
    emit(event="done", peak_memory_bytes=peak_memory_bytes())


if __name__ == "__main__":
    main()
