"""Write the default model's predictions of the examples, which a test then holds it to."""

import json
from pathlib import Path

from paratope.models.predictor import Predictor

HERE = Path(__file__).resolve().parent


def main() -> None:
    examples = HERE.parents[1] / "examples" / "pairs.csv"
    frame = Predictor.load("default", device="cpu").predict(examples)
    content = {
        name: [round(v, 6) if isinstance(v, float) else v for v in frame[name].to_list()]
        for name in ("id", "domain", "pkd", "pkd_low", "pkd_high", "p_strong")
    }
    (HERE / "default_model.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
