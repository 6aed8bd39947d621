"""Trains the embedded fleet's two language models on arithmetic.

Run as ``python -m core.demo.train --out core/demo/weights``. Each model's directory loads in vLLM
as is. The two differ in size and in training only: same tokenizer, same questions.
"""

import argparse
import math
import random
import string
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch.optim.lr_scheduler import LambdaLR
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from core.demo.arithmetic import (
    PROMPT_END,
    QUERY_CLASSES,
    QueryClass,
    Question,
    extract_answer,
    mixed,
    questions,
)

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
IGNORED_LABEL = -100
MAX_POSITIONS = 256
MAX_ANSWER_TOKENS = 64
BATCHES_PER_POOL = 16
WARM_UP_STEPS = 100
REPORT_EVERY_STEPS = 50
CHECK_EVERY_STEPS = 500
CHECK_COUNT = 100


@dataclass(frozen=True)
class Recipe:
    """One model's shape and training.

    Attributes:
        layers: Transformer blocks.
        width: Hidden size.
        heads: Attention heads.
        kv_heads: Key/value heads, shared by groups of attention heads.
        mlp_width: Inner size of the feed-forward part.
        steps: Optimiser steps.
        batch_size: Sequences in a step.
        matrix_lr: Highest learning rate of the weight matrices, which Muon trains.
        other_lr: Highest learning rate of the embedding and the norms, which AdamW trains.
        shares: How often training draws from each class.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    mlp_width: int
    steps: int
    batch_size: int
    matrix_lr: float
    other_lr: float
    shares: Mapping[QueryClass, float]


RECIPES: Mapping[str, Recipe] = {
    "small": Recipe(
        layers=2,
        width=64,
        heads=2,
        kv_heads=2,
        mlp_width=128,
        steps=2000,
        batch_size=32,
        matrix_lr=0.03,
        other_lr=4e-3,
        shares={"easy": 0.6, "medium": 0.25, "hard": 0.15},
    ),
    "large": Recipe(
        layers=12,
        width=128,
        heads=4,
        kv_heads=4,
        mlp_width=256,
        steps=4000,
        batch_size=32,
        matrix_lr=0.03,
        other_lr=4e-3,
        shares={"easy": 0.1, "medium": 0.3, "hard": 0.6},
    ),
}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Makes the character-level tokenizer that both models share.

    Returns:
        A tokenizer over printable ASCII. Its chat template passes the last message on unchanged
        and appends the separator that starts an answer.
    """
    characters = "".join(c for c in string.printable if c.isprintable()) + PROMPT_END
    vocabulary = {token: i for i, token in enumerate([PAD, EOS, UNKNOWN, *characters])}
    characterwise = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    characterwise.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    characterwise.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=characterwise,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        padding_side="left",
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
        chat_template="{{ messages[-1]['content'] + '\\n' }}",
    )


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Any:
    """Makes an untrained model.

    Args:
        recipe: The model's shape.
        tokenizer: Gives the vocabulary and the special tokens.

    Returns:
        A `LlamaForCausalLM` with random weights.
    """
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.width,
            intermediate_size=recipe.mlp_width,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.kv_heads,
            max_position_embeddings=MAX_POSITIONS,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def batches(
    recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Draws training batches without end.

    Args:
        recipe: Gives the batch size and the mixture of classes.
        tokenizer: Encodes the questions.
        seed: Seed of the draw.

    Yields:
        Token ids and labels; the labels leave out the prompt and the padding.
    """
    rng = random.Random(seed)
    while True:
        count = recipe.batch_size * BATCHES_PER_POOL
        pool = mixed(recipe.shares, count, rng.getrandbits(48), held_out=False)
        # Neighbours in length share a batch: little padding to compute.
        pool.sort(key=lambda question: len(question.prompt + question.completion))
        starts = list(range(0, count, recipe.batch_size))
        rng.shuffle(starts)
        for start in starts:
            yield _collate(pool[start : start + recipe.batch_size], tokenizer)


def _collate(
    batch: list[Question], tokenizer: PreTrainedTokenizerFast
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [[*tokenizer.encode(q.prompt + q.completion), tokenizer.eos_token_id] for q in batch]
    shape = (len(rows), max(map(len, rows)))
    ids = torch.full(shape, int(tokenizer.pad_token_id))
    labels = torch.full(shape, IGNORED_LABEL)
    for i, (row, question) in enumerate(zip(rows, batch, strict=True)):
        ids[i, : len(row)] = torch.tensor(row)
        start = len(question.prompt)
        labels[i, start : len(row)] = ids[i, start : len(row)]
    return ids, labels


def rate_fraction(recipe: Recipe, step: int) -> float:
    """Gives a step's share of the peak learning rates: linear warm-up, then a cosine.

    Args:
        recipe: Gives the number of steps.
        step: Step from 0.

    Returns:
        The share, from 0.02 at the end to 1 after the warm-up.
    """
    warm_up_steps = max(1, min(WARM_UP_STEPS, recipe.steps // 10))
    if step < warm_up_steps:
        return (step + 1) / warm_up_steps
    done = (step - warm_up_steps) / max(1, recipe.steps - warm_up_steps)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def build_optimizers(model: Any, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Makes the optimisers: Muon halves the loss of AdamW alone after the same few minutes.

    Args:
        model: The model to train.
        recipe: Gives the peak learning rates.

    Returns:
        Muon for the weight matrices and AdamW for everything else.
    """
    embedding = model.get_input_embeddings().weight
    parameters = list(model.parameters())
    matrices = [p for p in parameters if p.ndim == 2 and p is not embedding]
    others = [p for p in parameters if p.ndim != 2 or p is embedding]
    return [
        torch.optim.Muon(matrices, lr=recipe.matrix_lr, weight_decay=0.01, momentum=0.95),
        torch.optim.AdamW(others, lr=recipe.other_lr, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def train(recipe: Recipe, tokenizer: PreTrainedTokenizerFast, seed: int) -> Any:
    """Trains one model, printing progress.

    Args:
        recipe: The model's shape and training.
        tokenizer: Encodes the questions.
        seed: Seed of the weights and of the questions.

    Returns:
        The trained model.
    """
    torch.manual_seed(seed)
    model = build_model(recipe, tokenizer)
    print(f"{model.num_parameters() / 1e6:.2f} M parameters, {recipe.steps} steps", flush=True)
    optimizers = build_optimizers(model, recipe)
    schedules = [LambdaLR(o, lambda step: rate_fraction(recipe, step)) for o in optimizers]
    source = batches(recipe, tokenizer, seed)
    started_s, loss_sum = time.monotonic(), 0.0
    for step in range(1, recipe.steps + 1):
        loss_sum += _train_step(model.train(), optimizers, *next(source))
        for schedule in schedules:
            schedule.step()
        if step % REPORT_EVERY_STEPS == 0:
            elapsed_s = time.monotonic() - started_s
            print(
                f"step {step}/{recipe.steps} loss {loss_sum / REPORT_EVERY_STEPS:.4f} "
                f"elapsed {elapsed_s:.0f} s ETA {elapsed_s / step * (recipe.steps - step):.0f} s",
                flush=True,
            )
            loss_sum = 0.0
        if step % CHECK_EVERY_STEPS == 0:
            print_accuracy(model, tokenizer, CHECK_COUNT, seed)
    return model.eval()


def _train_step(
    model: Any,
    optimizers: list[torch.optim.Optimizer],
    ids: torch.Tensor,
    labels: torch.Tensor,
) -> float:
    # Right padding and a causal mask: no answer token ever sees the padding.
    logits = model(input_ids=ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED_LABEL
    )
    model.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return loss.item()


@torch.inference_mode()
def accuracy(
    model: Any, tokenizer: PreTrainedTokenizerFast, query_class: QueryClass, count: int, seed: int
) -> float:
    """Measures how often greedy decoding ends in the right answer.

    Args:
        model: A trained model.
        tokenizer: Its tokenizer.
        query_class: Class to draw held-out questions from.
        count: Number of questions.
        seed: Seed of the draw.

    Returns:
        The share of right answers.
    """
    asked = questions(query_class, count, seed)
    encoded = tokenizer([q.prompt for q in asked], return_tensors="pt", padding=True)
    output = model.generate(
        input_ids=encoded["input_ids"],
        attention_mask=encoded["attention_mask"],
        max_new_tokens=MAX_ANSWER_TOKENS,
        do_sample=False,
    )
    answers = tokenizer.batch_decode(
        output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True
    )
    right = sum(extract_answer(a) == q.answer for a, q in zip(answers, asked, strict=True))
    return right / count


def print_accuracy(model: Any, tokenizer: PreTrainedTokenizerFast, count: int, seed: int) -> None:
    """Prints the accuracy of each class.

    Args:
        model: A model.
        tokenizer: Its tokenizer.
        count: Held-out questions per class.
        seed: Seed of the questions.
    """
    model.eval()
    shares = {name: accuracy(model, tokenizer, name, count, seed) for name in QUERY_CLASSES}
    text = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
    print(f"right of {count} held-out: {text}", flush=True)


def train_and_save(name: str, recipe: Recipe, out: Path, seed: int, eval_count: int) -> None:
    """Trains one model, saves it in bfloat16 and prints the accuracy of what was saved.

    Args:
        name: Directory under `out`.
        recipe: The model's shape and training.
        out: Directory of the weights.
        seed: Seed of the weights and of the questions.
        eval_count: Held-out questions per class.
    """
    print(f"== {name}", flush=True)
    tokenizer = build_tokenizer()
    model = train(recipe, tokenizer, seed).to(torch.bfloat16)
    model.save_pretrained(out / name)
    tokenizer.save_pretrained(out / name)
    print_accuracy(model, tokenizer, eval_count, seed)


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of the weights")
    parser.add_argument("--models", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--steps", type=int, help="override the recipe, for a trial run")
    parser.add_argument("--eval-count", type=int, default=300, help="questions per class")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.models:
        recipe = RECIPES[name]
        if arguments.steps is not None:
            recipe = replace(recipe, steps=arguments.steps)
        train_and_save(name, recipe, arguments.out, arguments.seed, arguments.eval_count)


if __name__ == "__main__":
    main()
