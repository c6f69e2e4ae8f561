# Turn 4: a report with a table and a chart, as one HTML file.
import base64
import io

import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(8, 4))
axes.hist(losses / 1e6, bins=160, color="#4a6fa5")
for name, colour in zip(risk.index, ("#d1495b", "#edae49", "#2e4057")):
    axes.axvline(risk.loc[name].iloc[0] / 1e6, color=colour, label=f"{name} VaR")
axes.set(title=f"One-day loss, {paths:,} paths", xlabel="loss, million EUR", ylabel="paths")
axes.legend()
figure.tight_layout()

buffer = io.BytesIO()
figure.savefig(buffer, format="png", dpi=110)
chart = base64.b64encode(buffer.getvalue()).decode()
html = f"""<!doctype html><meta charset="utf-8"><title>One-day value at risk</title>
<style>body {{ font: 15px system-ui, sans-serif; max-width: 52rem; margin: 2rem auto }} table {{ border-collapse: collapse }}
td, th {{ border: 1px solid #bbb; padding: .3rem .7rem; text-align: right }}</style>
<h1>One-day value at risk</h1>
<p>Portfolio of {portfolio_eur:,.0f} EUR in {len(positions)} indices; {len(returns):,} daily returns; {paths:,} simulated paths; confidence 99 %.</p>
{risk.to_html(float_format="{:,.0f}".format)}
<h2>Positions</h2>{positions.to_html(float_format="{:,.2f}".format)}
<h2>Correlations</h2>{correlations.to_html(float_format="{:.2f}".format)}
<p><img alt="Distribution of simulated losses" src="data:image/png;base64,{chart}"></p>
"""
with open("report.html", "w", encoding="utf-8") as file:
    file.write(html)
print(f"report.html: {len(html) / 1024:.0f} KiB")
