# Turn 4: what it comes to at today's rates, from the market's service; the report goes where reports may go.
import json

quotes = {name: tools.market.quote(symbol=name)["price"] for name in positions.index}
today_eur = float((positions.units * positions.multiplier * positions.currency_rate * pd.Series(quotes)).sum())
report = {"portfolioEur": today_eur, "var99Eur": float(monte_carlo[0]), "parametricEur": float(parametric[0]), "paths": paths}
with open("report.json", "w", encoding="utf-8") as file:
    json.dump(report, file)
tools.prices.put(key="reports/var.json", file="report.json")
print(json.dumps(report))
