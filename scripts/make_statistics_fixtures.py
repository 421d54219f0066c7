#!/usr/bin/env python3
"""Writes tests/fixtures/statistics.json: what reference implementations make of small seeded data.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install alpaca-eval==0.6.6 statsmodels scikit-learn scipy pandas
    /tmp/peers/bin/python scripts/make_statistics_fixtures.py

Intervals are statsmodels', Bradley-Terry scikit-learn's unpenalised logistic regression on doubled battles, the
length-controlled win rate alpaca_eval's own code, with its downloaded table of regularising comparisons replaced by a
seeded one.
"""
import json
import math
import pathlib
import tempfile

import numpy as np
import pandas as pd
from alpaca_eval.metrics import glm_winrate
from sklearn.linear_model import LogisticRegression
from statsmodels.stats.proportion import proportion_confint

random = np.random.default_rng(7)


def intervals():
    return [{"right": right, "trials": trials, "confidence": confidence,
             "exact": proportion_confint(right, trials, 1 - confidence, "beta"),
             "wilson": proportion_confint(right, trials, 1 - confidence, "wilson")}
            for right, trials, confidence in [(0, 1, .95), (1, 1, .95), (0, 30, .95), (30, 30, .95), (7, 30, .95),
                                              (24, 30, .9), (358, 500, .95), (1, 12032, .99), (9999, 12032, .95)]]


def bradley_terry(players, battles):
    """Every battle twice; a tie is won once by each."""
    rows, wins, weights = [], [], []
    for battle in battles:
        row = [0.0] * players
        row[battle["a"]], row[battle["b"]] = 1.0, -1.0
        for win in {1: (1, 1), 0: (0, 0), 0.5: (1, 0)}[battle["score"]]:
            rows.append(row), wins.append(win), weights.append(battle["weight"])
    fit = LogisticRegression(fit_intercept=False, C=math.inf, tol=1e-12, solver="newton-cholesky", max_iter=1000)
    coefficients = fit.fit(rows, wins, sample_weight=weights).coef_[0]
    return [400 / math.log(10) * (each - coefficients[0]) for each in coefficients]


def tournaments():
    cases = []
    for players, count in [(2, 60), (3, 40), (6, 200)]:
        strength = random.normal(0, 1, players)
        battles = []
        for _ in range(count):
            a, b = (int(each) for each in random.choice(players, 2, replace=False))
            chance = 1 / (1 + math.exp(strength[b] - strength[a]))
            score = 0.5 if random.random() < 0.2 else float(random.random() < chance)
            battles.append({"a": a, "b": b, "score": score, "weight": int(random.choice([1, 3]))})
        cases.append({"players": players, "battles": battles, "ratings": bradley_terry(players, battles)})
    return cases


def length_controlled(name, count, tilt, bias):
    difficulty = random.normal(0, 1, count)
    baseline, model = random.integers(200, 2500, count), random.integers(200, 2500, count)
    chance = 1 / (1 + np.exp(-(tilt + bias * np.tanh((model - baseline) / 900) + 0.5 * difficulty)))
    preference = np.where(random.random(count) < 0.7, random.random(count) < chance, chance).round(6)
    gamed = pd.DataFrame({
        "index": list(range(count)) * 2, "model": ["concise"] * count + ["verbose"] * count,
        "std_delta_len": np.r_[random.normal(1, 0.4, count), random.normal(-1, 0.4, count)].round(6),
        "instruction_difficulty": np.r_[difficulty, difficulty], "not_gamed_baseline": False})
    gamed["preference"] = (1 / (1 + np.exp(gamed["std_delta_len"]))).round(6)
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        gamed.to_csv(file.name, index=False)
        glm_winrate.hf_hub_download = lambda **_: file.name
        frame = pd.DataFrame({
            "index": range(count), "preference": preference + 1, "output_1": ["x" * n for n in baseline],
            "output_2": ["x" * n for n in model], "generator_1": "baseline", "generator_2": "model",
            "annotator": "judge", "instruction": [str(i) for i in range(count)]})
        info = dict(glm_winrate.GLM_INFO[name], kwargs={"n_splits": 5, "tol": 1e-10, "max_iter": 100000})
        fits = []
        fit = glm_winrate.fit_LogisticRegressionCV
        glm_winrate.fit_LogisticRegressionCV = lambda *a, **k: fits.append(fit(*a, **k)) or fits[-1]
        result = glm_winrate.get_length_controlled_winrate(frame, glm_name=name, glm_info=info, save_weights_dir=None)
        glm_winrate.fit_LogisticRegressionCV = fit
    minimal, regularised = name.endswith("minimal"), name.endswith("v1")
    return {
        "name": name, "preference": preference.tolist(), "baseline": baseline.tolist(), "model": model.tolist(),
        "difficulty": [] if minimal else difficulty.tolist(),
        "gamed": gamed[["preference", "std_delta_len", "instruction_difficulty"]].values.tolist() if regularised else [],
        "coefficients": fits[0].coef_[0].tolist(), "c": float(np.ravel(fits[0].C_)[0]),
        "win_rate": float(result["win_rate"]), "lc_win_rate": float(result["length_controlled_winrate"]),
        "lc_error": float(result["lc_standard_error"])}


controlled = [length_controlled("length_controlled_v1", 60, 0.8, 1.5),
              length_controlled("length_controlled_v1", 83, -1.0, 0.3),
              length_controlled("length_controlled_noreg", 60, 0.2, -1.0),
              length_controlled("length_controlled_minimal", 70, 1.2, 0.8)]
path = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/statistics.json"
path.write_text(json.dumps({"intervals": intervals(), "bradley_terry": tournaments(), "length_controlled": controlled},
                           separators=(",", ":"), default=float) + "\n")
for each in controlled:
    print(each["name"], each["c"], each["coefficients"], each["lc_win_rate"], each["win_rate"])
