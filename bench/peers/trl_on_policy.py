# The peer of `distill --on-policy`: TRL's GKDTrainer with lmbda 1 (every step on the student's own answers) and beta 0 (forward KL over the whole vocabulary), all weights
# by AdamW, in f32; a teacher that is rounded on our side is bf16 here, where the processor multiplies that.
# Run: PYTHON bench/peers/trl_on_policy.py JOB.json: each step waits for a line on stdin, which holds the step's answers where they are given.
# Job: teacher, student (GGUF), threads, precision, rows [{tokens, answerFrom}], steps [{rows: [index], learningRate}], optimizer, answerTokens, endTokens.
# Output: one JSON line ready, one a step, one done.
import json
import os
import sys
import tempfile
import time
from importlib.metadata import version

os.environ["HF_HUB_OFFLINE"] = "1"  # a trainer of TRL's tells its makers when it starts

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from pytorch_common import open_model, pad, peak_memory_bytes, versions  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from tokenizers.models import WordLevel  # noqa: E402
from transformers import PreTrainedTokenizerFast, TrainerCallback  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402
from trl.experimental.gkd import GKDConfig, GKDTrainer  # noqa: E402

PAD = 0  # masked wherever it stands
LINES, sys.stdout = sys.stdout, sys.stderr  # the trainer prints too


def emit(**fields):
    print(json.dumps(fields), file=LINES, flush=True)


def pad_left(rows, fill):
    """(rows, longest) of token ids padded on the left, and its attention mask."""
    ids, there = pad([row[::-1] for row in rows], fill)
    return ids.flip(1), torch.ones_like(ids) if there is None else there.flip(1)


class Turns(GKDTrainer):
    """Learns a step's answers as they are given, where they are, and tells what a step came to."""

    given = None

    def generate_on_policy_outputs(self, model, inputs, generation_config):
        if self.given is None:
            made = GKDTrainer.generate_on_policy_outputs(model, inputs, generation_config)
        else:
            answers, there = pad(self.given, PAD)
            there = torch.ones_like(answers) if there is None else there
            labels = torch.cat([torch.full_like(inputs["prompts"], -100), answers.masked_fill(there == 0, -100)], 1)
            made = torch.cat([inputs["prompts"], answers], 1), torch.cat([inputs["prompt_attention_mask"], there], 1), labels
        self.labels = int((made[2] != -100).sum())
        return made

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # It divides by the labels that the rows came with, not by those that were written.
        self.loss_sum = loss.detach() * num_items_in_batch if num_items_in_batch is not None else loss.detach() * self.labels
        return loss


class Clock(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        self.trainer.given = json.loads(line) if line.strip() else None
        self.start = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        seconds = time.perf_counter() - self.start
        labels = self.trainer.labels
        emit(event="step", loss=self.trainer.loss_sum.item() / labels, labels=labels, answers=None, seconds=seconds)


def main():
    with open(sys.argv[1]) as file:
        job = json.load(file)
    rows, options, step = job["rows"], job["optimizer"], job["steps"][0]
    teacher = open_model(job["teacher"], None, False, job["threads"])
    if job["precision"] != "f32" and torch.cpu.get_capabilities().get("avx512_bf16"):
        teacher = teacher.to(torch.bfloat16)
    student = open_model(job["student"], None, True, job["threads"])
    student.is_quantized = False  # its weights were unpacked to f32, which the trainer would not know

    def collate(features):
        chosen = [rows[feature["row"]] for feature in features]
        # Prompts end at one place, padded on the left, as the trainer's own collator has them.
        prompts, prompt_there = pad_left([row["tokens"][: row["answerFrom"]] for row in chosen], PAD)
        answers, there = pad([row["tokens"][row["answerFrom"] :] for row in chosen], PAD)
        there = torch.ones_like(answers) if there is None else there
        labels = torch.cat([torch.full_like(prompts, -100), answers.masked_fill(there == 0, -100)], 1)
        return dict(
            input_ids=torch.cat([prompts, answers], 1), attention_mask=torch.cat([prompt_there, there], 1), labels=labels, prompts=prompts, prompt_attention_mask=prompt_there
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        config = GKDConfig(
            output_dir=folder, lmbda=1.0, beta=0.0, temperature=1.0, max_new_tokens=job["answerTokens"], per_device_train_batch_size=len(step["rows"]),
            max_steps=len(job["steps"]), learning_rate=step["learningRate"], lr_scheduler_type="constant", optim="adamw_torch_fused",
            adam_beta1=options["beta1"], adam_beta2=options["beta2"], adam_epsilon=options["epsilon"], weight_decay=options["weightDecay"],
            max_grad_norm=options["clipNorm"], use_cpu=True, bf16=False, gradient_checkpointing=False, train_sampling_strategy="sequential",
            dataloader_pin_memory=False, save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        # No text is read: the trainer asks for a tokenizer's padding only.
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"<pad>": PAD}, unk_token="<pad>")), pad_token="<pad>", eos_token="<pad>")
        clock = Clock()
        dataset = Dataset.from_list([{"row": index} for of in job["steps"] for index in of["rows"]])
        trainer = Turns(
            model=student, teacher_model=teacher, args=config, data_collator=collate, train_dataset=dataset, processing_class=tokenizer, callbacks=[clock]
        )
        clock.trainer = trainer
        trainer.generation_config.eos_token_id = job["endTokens"]
        emit(event="ready", versions={**versions(), "trl": version("trl")}, settings=dict(teacher_dtype=str(teacher.dtype).removeprefix("torch.")))
        trainer.train()
    emit(event="done", peak_memory_bytes=peak_memory_bytes())


if __name__ == "__main__":
    transformers_logging.set_verbosity_error()
    main()
