"""A pair of networks that play against each other (WGAN-GP): the gradient by the input is part of the loss."""

import megengine as mge
import megengine.functional as F
import megengine.module as M
from common import array, fixed, maybe_traced, squares
from megengine.autodiff import GradManager
from megengine.optimizer import Adam


def generator():
    return M.Sequential(M.Linear(4, 16), M.ReLU(), M.Linear(16, 8), M.Sigmoid())


def critic():
    return M.Sequential(M.Linear(8, 16), M.Sigmoid(), M.Linear(16, 16), M.Sigmoid(), M.Linear(16, 1))


def gradient_penalty(net, x):
    manager = GradManager().attach(x)
    with manager:
        manager.backward(F.sum(net(x)))
    norm = F.sqrt(F.sum(x.grad * x.grad, axis=1) + 1e-12)
    return F.mean((norm - 1) ** 2)


def run(traced):
    g, d = fixed(generator()), fixed(critic())
    g_optimizer, d_optimizer = (Adam(net.parameters(), lr=0.01, betas=(0.5, 0.9), eps=1e-3) for net in (g, d))
    g_manager, d_manager = GradManager().attach(g.parameters()), GradManager().attach(d.parameters())

    def d_step(real, noise, mix):
        fake = g(noise).detach()
        with d_manager:
            between = mix * real + (1 - mix) * fake
            loss = F.mean(d(fake)) - F.mean(d(real)) + 10 * gradient_penalty(d, between)
            d_manager.backward(loss)
        d_optimizer.step().clear_grad()
        return loss

    def g_step(noise):
        with g_manager:
            loss = -F.mean(d(g(noise)))
            g_manager.backward(loss)
        g_optimizer.step().clear_grad()
        return loss

    d_step, g_step = maybe_traced(d_step, traced), maybe_traced(g_step, traced)
    losses = []
    for i in range(3):
        real, noise, mix = array(6, 8, seed=i), array(6, 4, seed=i + 9), abs(array(6, 1, seed=i + 99)) % 1
        losses.append(float(d_step(*(mge.tensor(x) for x in (real, noise, mix))).numpy()))
        losses.append(float(g_step(mge.tensor(noise)).numpy()))
    return losses + squares(g) + squares(d)
