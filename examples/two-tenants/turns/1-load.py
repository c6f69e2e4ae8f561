# Turn 1: positions from the database, prices from the object store. Neither has an address or a credential in this machine.
import io

import pandas as pd
from bulkhead import tools

prices = pd.read_csv(io.StringIO(tools.prices.get(key="indices.csv").text())).set_index("time")
positions = tools.positions.held().frame().set_index("index").astype(float)
last = prices.iloc[-1]
positions["exposure_eur"] = positions.units * positions.multiplier * positions.currency_rate * last[positions.index]
portfolio_eur = positions.exposure_eur.sum()
print(f"{len(prices)} days of {prices.shape[1]} indices; portfolio {portfolio_eur:,.0f} EUR")
