"""Which device for reading documents within half a second? Three are asked, and the answers stand in one table.

Run: python examples/choose_a_device.py [DEVICE ...]
"""

import sys

import vlmplan


def main(devices: list[str]) -> None:
    """Print one line a device, the best answer first."""
    found = vlmplan.compare(hardware=",".join(devices), latency="500ms", task="docvqa", image="1240x1754")
    print(f"{'device':<16} {'error':>7} {'90 % interval':>17} {'latency':>8}  {'tokens':>6}  model")
    for one in found.devices:
        if one.model is None or one.error_interval is None or one.latency_s is None:
            print(f"{one.hardware:<16} {one.reason}")
            continue
        low, high = one.error_interval
        print(
            f"{one.hardware:<16} {one.predicted_error:>7.1%} {low:>8.1%} - {high:>5.1%} {one.latency_s * 1e3:>5.0f} ms"
            f"  {one.visual_tokens:>6}  {one.model}"
        )


if __name__ == "__main__":
    main(sys.argv[1:] or ["l4", "l40s", "h100-sxm"])
