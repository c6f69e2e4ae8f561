# Turn 1: load prices and positions.
import pandas as pd

prices = pd.read_csv("prices.csv").set_index("time")
positions = pd.read_csv("positions.csv").set_index("index")
last = prices.iloc[-1]
positions["exposure_eur"] = positions.units * positions.multiplier * positions.currency_rate * last[positions.index]
portfolio_eur = positions.exposure_eur.sum()
print(f"{len(prices)} days of {prices.shape[1]} indices; portfolio {portfolio_eur:,.0f} EUR")
positions
