# Turn 2: calibrate daily means, volatilities and correlations of the log returns.
import numpy as np

returns = np.log(prices / prices.shift(1)).dropna()[positions.index]
means = returns.mean()
volatilities = returns.std()
correlations = returns.corr()
covariance = returns.cov()
pd.DataFrame({"mean %": means * 100, "volatility %": volatilities * 100, "annual vol %": volatilities * np.sqrt(252) * 100}).round(3)
