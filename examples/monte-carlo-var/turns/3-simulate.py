# Turn 3: one-day losses and 99 % value at risk and expected shortfall, in three ways.
from statistics import NormalDist

confidence = 0.99
paths = 200_000
exposure = positions.exposure_eur


def tail(losses):
    """VaR and expected shortfall of a sample of losses."""
    var = np.quantile(losses, confidence)
    return var, losses[losses >= var].mean()


# Parametric (delta-normal): the portfolio's change is normal with these two moments.
mean_eur = float(exposure @ means)
sigma_eur = float(np.sqrt(exposure @ covariance @ exposure))
z = NormalDist().inv_cdf(confidence)
parametric = (z * sigma_eur - mean_eur, NormalDist().pdf(z) / (1 - confidence) * sigma_eur - mean_eur)

# Historical: every observed day, applied to today's portfolio.
historical = tail(-(np.expm1(returns) @ exposure).to_numpy())

# Monte Carlo: correlated normal log returns, full revaluation.
generator = np.random.default_rng(seed=20_250_101)
draws = generator.standard_normal((paths, len(exposure))) @ np.linalg.cholesky(covariance).T + means.to_numpy()
losses = -(np.expm1(draws) @ exposure.to_numpy())
monte_carlo = tail(losses)

risk = pd.DataFrame(
    [parametric, historical, monte_carlo],
    index=["parametric", "historical", "Monte Carlo"],
    columns=["VaR 99 % (EUR)", "expected shortfall (EUR)"],
)
print(f"{paths:,} paths; Monte Carlo is {monte_carlo[0] / parametric[0] - 1:+.2%} from parametric")
risk.round(0)
