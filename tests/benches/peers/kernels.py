"""Times PyTorch's convolutions, channels last, and products on the CPU.

Called by the bench `kernels` of `sedge-kernels`:

    kernels.py THREADS 'name;convolution;n,h,w,ci,co,ci/g,kh,kw,sh,sw,ph,pw,groups' ...
    kernels.py THREADS 'name;product;batch,rows,depth,columns,transpose_a,transpose_b' ...

Prints `name direction;milliseconds` (products: `name;milliseconds`), the least of many runs (on one thread,
of the thread's own time).
"""

import sys
import time

import torch


def least(work):
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    begin = time.perf_counter()
    best = float("inf")
    while True:
        start = clock()
        work()
        best = min(best, clock() - start)
        if time.perf_counter() - begin > 0.2:
            return best * 1e3


def convolution(name, fields):
    n, h, w, ci, co, group_in, kh, kw, sh, sw, ph, pw, groups = fields
    last = torch.channels_last
    x = torch.rand(n, ci, h, w).to(memory_format=last)
    kernel = torch.rand(co, group_in, kh, kw).to(memory_format=last)
    shared = ([sh, sw], [ph, pw], [1, 1], False, [0, 0], groups)

    def forward():
        return torch.ops.aten.convolution(x, kernel, None, *shared)

    dy = torch.rand_like(forward())

    def backward(dx, dw):
        return lambda: torch.ops.aten.convolution_backward(
            dy, x, kernel, None, *shared, [dx, dw, False]
        )

    print(f"{name} forward;{least(forward)}")
    print(f"{name} dx;{least(backward(True, False))}")
    print(f"{name} dw;{least(backward(False, True))}")


def product(name, fields):
    batch, rows, depth, columns, transpose_a, transpose_b = fields
    a = torch.rand(batch, depth, rows).mT if transpose_a else torch.rand(batch, rows, depth)
    b = torch.rand(batch, columns, depth).mT if transpose_b else torch.rand(batch, depth, columns)
    if batch == 1:
        a, b = a[0], b[0]
    out = torch.empty(*a.shape[:-1], columns)
    print(f"{name};{least(lambda: torch.matmul(a, b, out=out))}")


def main():
    torch.set_num_threads(int(sys.argv[1]))
    torch.set_grad_enabled(False)
    kinds = {"convolution": convolution, "product": product}
    for argument in sys.argv[2:]:
        name, kind, fields = argument.split(";")
        kinds[kind](name, [int(field) for field in fields.split(",")])


if __name__ == "__main__":
    main()
