# What the PyTorch peers share: opening the GGUF in transformers, with or without a PEFT adapter. Knows nothing of losses or metrics.
import os
import resource
import sys
import warnings

import peft
import torch
import transformers

warnings.filterwarnings("ignore")
transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


def open_model(path, adapter, trainable, threads, dtype=torch.float32):
    """transformers dequantises the GGUF to f32; the adapter is a PEFT folder, or None."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        os.path.dirname(path), gguf_file=os.path.basename(path), dtype=dtype, attn_implementation="sdpa"
    )
    model.config.use_cache = False
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, adapter, is_trainable=trainable)
    return model.train(trainable)


def versions():
    return {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}


def peak_memory_bytes():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def pad(rows, fill):
    """(rows, longest) of token ids padded on the right, and its attention mask (None when nothing is padded)."""
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [fill] * (longest - len(row)) for row in rows])
    if all(len(row) == longest for row in rows):
        return ids, None
    return ids, torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
