"""Runs in the finished root as the guest's user: everything that must import after all that was left out does."""

import sqlite3, ssl, subprocess, zoneinfo

import IPython, jinja2, lxml.etree, numpy, numpy.testing, openpyxl, pandas, PIL.Image, requests, tabulate
import scipy.interpolate, scipy.optimize, scipy.signal, scipy.sparse.linalg, scipy.stats
import sklearn.cluster, sklearn.ensemble, sklearn.linear_model
import statsmodels.api, statsmodels.formula.api, statsmodels.tsa.api
import matplotlib.pyplot

assert matplotlib.get_backend().lower() == "agg", matplotlib.get_backend()
zoneinfo.ZoneInfo("Europe/London")
assert len(ssl.create_default_context().get_ca_certs()) > 50, "no certificates"
a = numpy.random.default_rng(1).random((200, 200))
numpy.testing.assert_allclose(a @ numpy.linalg.inv(a), numpy.eye(200), atol=1e-6)
assert statsmodels.api.OLS(a[:, 0], a[:, 1:4]).fit().params.shape == (3,)
sklearn.linear_model.LinearRegression().fit(a[:, 1:4], a[:, 0])
pandas.DataFrame(a).style.to_html()
matplotlib.pyplot.plot(a[0])
matplotlib.pyplot.savefig("/dev/null", format="png")

for command in (
    "node -e 0", "bash -c :", "pip --version", "npm --version", "git --version", "curl --version", "jq --version", "rg --version", "ps --version",
    "killall --version", "ip -V", "less --version", "nano --version", "file --version", "unzip -v", "zip -v",
    "xz --version", "bzip2 --help", "tini --version", "mke2fs -V", "awk BEGIN{}", "which which", "perl -e 0",
    "find --version", "tar --version", "sed --version", "grep --version", "diff --version", "hostname", "python3 --version",
):
    subprocess.run(command.split(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)
