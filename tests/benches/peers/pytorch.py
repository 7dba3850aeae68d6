"""Times a training step, or inference, of one network in PyTorch and prints one line of JSON.

    python pytorch.py NET PART LAYOUT THREADS SECONDS

PART is `head`, `last:2`, `all` or `infer:BATCH`; LAYOUT is `channels-first` or `channels-last`.
"""

import json
import resource
import sys

import torch

from nets import Step
from timing import timed


def main():
    net, part, layout, threads, seconds = sys.argv[1:6]
    torch.set_num_threads(int(threads))
    step, last = Step(net), layout == "channels-last"
    views = step.views()
    if part.startswith("infer:"):
        count = int(part.split(":")[1])
        encoder = step.encoder.eval()
        views = views[:count]
        if last and views.dim() == 4:
            encoder, views = encoder.to(memory_format=torch.channels_last), views.to(memory_format=torch.channels_last)

        def work():
            with torch.inference_mode():
                encoder(views)
    else:
        trained = set(step.select(part))
        for name, parameter in step.named_parameters():
            parameter.requires_grad_(name in trained)
        if last and views.dim() == 4:
            step, views = step.to(memory_format=torch.channels_last), views.to(memory_format=torch.channels_last)
        parameters = [p for p in step.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)

        def work():
            optimizer.zero_grad(set_to_none=True)
            step(views).backward()
            optimizer.step()

    times = timed(work, float(seconds), int(threads))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"best": times[0], "median": times[len(times) // 2], "peak_mb": peak}))


if __name__ == "__main__":
    main()
