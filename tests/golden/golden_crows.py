"""Writes crows.json: ln p(sent_more) - ln p(sent_less) of the first 100 CrowS-Pairs, by transformers on the weights of the GGUF in f32.

    bench/peers/requirements.txt in a virtual environment; then, with STILLROOM_SHARED:
    python tests/golden/golden_crows.py
"""

import csv
import json
import os

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
SHARED = os.environ["STILLROOM_SHARED"]
FOLDER, FILE = os.path.join(SHARED, "models"), "SmolLM2-135M-Instruct.Q4_1.gguf"

tokenizer = AutoTokenizer.from_pretrained(FOLDER, gguf_file=FILE)
model = AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file=FILE, dtype=torch.float32).eval()


@torch.no_grad()
def log_likelihood(text):
    ids = torch.tensor([[tokenizer.bos_token_id] + tokenizer(text, add_special_tokens=False)["input_ids"]])
    log_p = torch.log_softmax(model(ids).logits[0, :-1].double(), dim=-1)
    return float(log_p.gather(1, ids[0, 1:, None]).sum())


with open(os.path.join(SHARED, "data/crows_pairs/crows_pairs_anonymized.csv"), newline="") as file:
    rows = list(csv.DictReader(file))[:100]
ratios = [log_likelihood(r["sent_more"]) - log_likelihood(r["sent_less"]) for r in rows]
with open(os.path.join(HERE, "crows.json"), "w") as out:
    json.dump({"bos": tokenizer.bos_token_id, "ratios": ratios}, out)
