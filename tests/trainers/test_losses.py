"""Tests of the losses against their definitions."""

import torch

from trainers.losses import cross_entropy, cross_entropy_sum

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0], [-3.0, 1.0, 4.0]])
LABELS = torch.tensor([0, 1, 1])


def test_cross_entropy_is_the_mean_on_the_crafted_images() -> None:
    images, crafted = torch.zeros(3, 3), LOGITS
    loss, logits = cross_entropy(lambda x: 1 * x, images, crafted, LABELS)
    expected = (LOGITS.exp().sum(1).log() - LOGITS[torch.arange(3), LABELS]).mean()
    torch.testing.assert_close(loss, expected)
    assert torch.equal(logits, crafted)


def test_loss_of_an_attack_is_a_sum_so_that_a_gradient_knows_no_batch_size() -> None:
    def gradient(count: int) -> torch.Tensor:
        leaf = LOGITS[:count].clone().requires_grad_()
        cross_entropy_sum(leaf, LABELS[:count]).backward()
        assert leaf.grad is not None
        return leaf.grad[0]

    torch.testing.assert_close(gradient(1), gradient(3))
    first = LOGITS[0].softmax(0) - torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(gradient(1), first)
