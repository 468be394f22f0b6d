"""Separate streams of random numbers: what one draws never moves another."""

import hashlib

import torch


def generator(seed: int, *names: object, device: torch.device) -> torch.Generator:
    """Return a fresh generator on `device`, decided by the seed and the stream's names alone."""
    text = "/".join(str(part) for part in (seed, *names))
    digest = hashlib.sha256(text.encode()).digest()
    fresh = torch.Generator(device=device)
    fresh.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return fresh
