"""
Compare activations fairly
==========================

Most gains that are claimed for activations are noise. The lab pairs seeds, gives every arm one recipe (or one budget
of tuning), reads the test part once, and may also say that there is no evidence.
"""

# %%
# An experiment
# -------------
# A mapping here is what a TOML file is for ``bevel run``. Leaky ReLU at 0.15 is the control that a claim about SAU must
# be measured against: at n = 20000 SAU is that function to 2e-5.
import tempfile

import bevel_lab

asked = {
    "activations": ["relu", "leaky_relu:negative_slope=0.15", "sau", "sau:n=2"],
    "model": "mlp", "dataset": "digits", "seeds": 4, "epochs": 2, "train_limit": 300,
}  # fmt: skip
if __name__ == "__main__":  # worker processes import this file
    results = bevel_lab.run(asked, out=tempfile.mkdtemp(), executor=bevel_lab.Workers(1))
    print(results.records[0])

# %%
# Records, and verdicts
# ---------------------
# Each trial is a record with its scores, costs, learned parameters and provenance; the table is for pandas.
if __name__ == "__main__":
    for row in results.table[:4]:
        print(row["arm"], row["seed"], f"{row['score']:.4f}", f"{row['seconds']:.2f} s")

# %%
# A verdict is about paired differences: a sign-flip test, an interval, and Holm's correction for asking several times.
# With four seeds the smallest p-value there can be is 0.125: four seeds cannot show anything, and the verdict says so.
# Ten is the default.
if __name__ == "__main__":
    for verdict in results.verdicts:
        wanted = f"; {verdict['needed']} seeds would do" if verdict["needed"] else ""
        print(f"{verdict['arm']}: {verdict['verdict']} ({verdict['difference']:+.4f}{wanted})")

# %%
# The page
# --------
# ``results.report()`` writes everything as one HTML file: verdicts, curves, the learned functions, costs, and how to
# run it again. From the command line it is all one line::
#
#     bevel compare --activations relu leaky_relu:negative_slope=0.15 sau sau:n=2 --model mlp --out runs/first
if __name__ == "__main__":
    page = results.report()
    print(page.name, page.stat().st_size > 50_000)
