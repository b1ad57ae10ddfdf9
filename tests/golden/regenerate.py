"""Write the bundled models' predictions of the examples, which a test then holds them to."""

import json
from pathlib import Path

from paratope.models.bundle import BUNDLED_MODELS
from paratope.models.predictor import Predictor

HERE = Path(__file__).resolve().parent


def main() -> None:
    examples = HERE.parents[1] / "examples" / "pairs.csv"
    for model in BUNDLED_MODELS:
        frame = Predictor.load(model, device="cpu").predict(examples)
        content = {
            name: [round(v, 7) if isinstance(v, float) else v for v in frame[name].to_list()]
            for name in ("id", "domain", "pkd", "pkd_low", "pkd_high", "p_strong")
        }
        text = json.dumps(content, indent=1) + "\n"
        (HERE / f"{model}_model.json").write_text(text)


if __name__ == "__main__":
    main()
