"""The page of ``report.py`` as a Jinja template with its style: values flow in, HTML flows out.

The content security policy forbids the page to load or send anything.
"""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'none'; base-uri 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { --ink: #1f2937; --soft: #6b7280; --line: #e5e7eb; --tint: #f8fafc; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); font: 14px/1.5 {{ font }}; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 24px 48px; }
h1 { font-size: 25px; line-height: 1.2; margin: 0 0 2px; letter-spacing: -.01em; }
h2 { font-size: 17px; margin: 36px 0 10px; padding-top: 12px; border-top: 1px solid var(--line); }
h3 { font-size: 14px; margin: 18px 0 4px; }
p { margin: 6px 0; }
.soft, .note { color: var(--soft); }
.note { font-size: 12.5px; max-width: 95ch; }
.headline { font-size: 16.5px; margin: 10px 0; max-width: 100ch; }
.verdicts { margin: 16px 0 14px; padding: 10px 16px; list-style: none; background: var(--tint);
  border: 1px solid var(--line); border-left: 4px solid #0072b2; border-radius: 4px; }
.verdicts li { font-size: 15.5px; margin: 3px 0; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 12px 0 0;
  font-size: 12.5px; }
dl.facts dt { color: var(--soft); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
code { font: 12px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 12px; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { border-bottom: 1.5px solid #9ca3af; vertical-align: bottom; }
td.n, th.n { text-align: right; white-space: nowrap; }
table.runs { font-size: 12px; }
table.runs td, table.runs th { padding: 3px 10px 3px 0; }
table.runs td.wide { overflow-wrap: anywhere; min-width: 180px; }
table.runs td.folder { overflow-wrap: anywhere; min-width: 265px; }
.wrap { overflow-x: auto; }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 7px; }
.tag { display: inline-block; padding: 0 7px; border-radius: 9px; font-size: 12px;
  background: #eef2f7; white-space: nowrap; }
.better, .complete { background: #dcf5e7; color: #0b5c34; }
.worse, .failed { background: #fde3e0; color: #8f1d12; }
.undecided, .pruned { background: #fdf1cf; color: #6f4d00; }
.equivalent, .running, .stopped { background: #e0edfb; color: #12487f; }
.chosen td { background: #f0f7fc; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 20px; align-items: start; }
.two.uneven { grid-template-columns: 2fr 3fr; }
.two > * { min-width: 0; }
figure { margin: 8px 0; break-inside: avoid; }
figure img { display: block; max-width: 100%; height: auto; border: 1px solid var(--line); }
figcaption { font-size: 12.5px; margin-bottom: 4px; }
.plot { break-inside: avoid; }
.modebar { opacity: 0; transition: opacity .15s; }
.plot:hover .modebar { opacity: 1; }
.bar { background: #0072b2; height: 9px; border-radius: 2px; min-width: 1px; }
.time td { padding: 3px 12px 3px 0; }
@media screen and (max-width: 800px) { .two, .two.uneven { grid-template-columns: 1fr; } }
@media print {
  @page { size: A4; margin: 12mm; }
  body { font-size: 11px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; }
  tr { break-inside: avoid; }
  .wrap { overflow: visible; }
  table.runs { font-size: 8.5px; }
  table.runs td.folder { min-width: 0; }
  .two.uneven { grid-template-columns: 1fr; }
  table.runs code, table.runs .tag { font-size: 8.5px; line-height: 1.3; }
  .modebar { display: none !important; }
}
</style>
<script>{{ plotly_js }}</script>
</head>
<body>
<main>
<h1>{{ title }}{% if unfinished %} <span class="tag running">unfinished</span>{% endif %}</h1>
{% if headline %}<p class="headline">{{ headline }}</p>
{% endif %}
<p class="soft">{{ subtitle }}</p>
{% if verdicts %}<ul class="verdicts">{% for line in verdicts %}<li>{{ line }}</li>{% endfor %}</ul>
{% endif %}
{% for line in notes %}<p class="note">{{ line }}</p>
{% endfor %}
<dl class="facts">
{% for name, value in facts %}<dt>{{ name }}</dt><dd><code>{{ value }}</code></dd>
{% endfor %}</dl>

<h2>Result</h2>
{% if comparison %}
<table>
<thead><tr><th>method</th><th class="n">n</th><th class="n">mean {{ label }}</th>
<th class="n">95 % interval</th><th class="n">difference to {{ baseline }}</th>
<th class="n">95 % interval</th><th class="n">paired seeds</th><th>verdict</th></tr></thead>
<tbody>
{% for row in comparison %}<tr><td><span class="swatch" style="background:{{ row.colour }}"></span>
{{- row.method }}{% if row.chosen %} <span class="tag">= tuned</span>{% endif %}
{%- if row.groups %}<br><span class="note">two groups of scores: {{ row.groups }}</span>
{% endif %}{% if row.missing %}<br><span class="note">missing seeds: {{ row.missing }}</span>
{% endif %}</td>{% for cell in row.cells %}<td class="n">{{ cell }}</td>{% endfor %}
<td><span class="tag {{ row.verdict }}">{{ row.verdict }}</span></td></tr>
{% endfor %}</tbody></table>
<div class="plot">{{ plots.result }}</div>
<p class="note">Diamonds: mean with Student's t interval. White dots: one seed each, joined across
methods because a seed means the same data order and initial weights in all of them; differences are
paired by seed, and their intervals widened over the methods: at most 5 % of tables call any method
better or worse that is equal to {{ baseline }} (Holm), and at most 2.5 % call one equivalent whose
true difference is as large as the margin ({{ margin }}, the smallest difference that matters).
Undecided: the interval includes 0 and leaves the margin, so there are too few seeds to tell.</p>
<h3>Beside the verdicts: differences to {{ baseline }} without a normal distribution, and all at
once</h3>
<table>
<thead><tr><th>method</th><th class="n">95 % interval of the mean, all at once</th>
<th class="n">median difference</th><th class="n">95 % bootstrap interval</th>
<th class="n">Wilcoxon's p</th><th class="n">share of the teacher's gap closed (val)</th></tr>
</thead><tbody>
{% for row in comparison if row.beside %}<tr><td>{{ row.method }}</td>
{%- for cell in row.beside %}<td class="n">{{ cell }}</td>{% endfor %}
<td class="n">{{ shares.get(row.method, "–") }}</td></tr>
{% endfor %}</tbody></table>
<p class="note">No verdict follows from these. All at once: in 95 % of tables every one of these
intervals covers its true difference (Bonferroni), which those above promise only for undecided and
equivalent pairs. Bootstrap: of the median, each for itself; it covers in 75 % with 3 seeds and in
94 % with 5. Wilcoxon's signed ranks: from 6 pairs on, two-sided, not corrected. Two groups of
scores: tighter than those of 95 % of tables with normal scores; mean and interval then say little
(late runs?). Share of the teacher's gap: (method − {{ baseline }}) / (teacher − {{ baseline }}) on
val, of the best checkpoint, with Fieller's 95 % interval over the students' seeds, each for itself;
the teacher's score is one number and taken as known, so it is the share of this teacher:
{{ teacher }}.</p>
{% if matrix %}
<h3>Every pair: mean paired difference in {{ metric }}, row minus column; Holm over all pairs</h3>
<div class="wrap"><table>
<thead><tr><th></th>{% for name in matrix[0].names %}<th class="n">{{ name }}</th>{% endfor %}</tr>
</thead><tbody>
{% for row in matrix %}<tr><td>{{ row.method }}</td>{% for cell in row.cells %}<td class="n">
{%- if cell %}<span class="tag {{ cell.verdict }}">{{ cell.mean }}</span>
<span class="soft">{{ cell.limits }}</span>{% else %}<span class="soft">–</span>{% endif %}</td>
{%- endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endif %}
{% else %}<p>{{ no_comparison }}</p>
{% endif %}

<h2>Learning curves</h2>
{% if plots.curves %}<div class="plot">{{ plots.curves }}</div>
<p class="note">{{ curves_note }}</p>
{% else %}<p>No run has logged a validation of {{ metric }} in a folder that is still there.</p>
{% endif %}

<h2>Spectra</h2>
{% if spectra %}
<p class="note">{{ spectra_note }}</p>
{% for part in spectra %}<h3>{{ part.name }}</h3>
{% for caption in part.captions %}<p class="note">{{ caption }}</p>
{% endfor %}{% if part.profile and part.gap %}<div class="two uneven">
<div class="plot">{{ part.profile }}</div><div class="plot">{{ part.gap }}</div></div>
{% else %}<div class="plot">{{ part.profile }}{{ part.gap }}</div>{% endif %}
{% for problem in part.problems %}<p class="note">No profile of {{ problem }}</p>
{% endfor %}{% if part.pictures %}<div class="two">
{% for picture in part.pictures %}<figure><figcaption><span class="swatch"
 style="background:{{ picture.colour }}"></span><b>{{ picture.method }}</b>
 <span class="soft">{{ picture.caption }}</span></figcaption>
<img alt="spectra of {{ picture.method }}, {{ part.name }}" src="{{ picture.data }}"></figure>
{% endfor %}</div>
{% endif %}{% endfor %}
{% else %}<p>No run shown here has saved spectra: they need a teacher and a distillation loss.</p>
{% endif %}

<h2>Tuning</h2>
{% if tuning %}
<p>{{ tuning.sentence }}</p>
<h3>Choice of the trial</h3>
<p>{{ choice }}</p>
{% if candidates %}<table>
<thead><tr><th class="n">trial</th><th>origin</th><th>parameters</th>
<th class="n">{{ metric }} (val) at the search's seed</th><th class="n">mean on the rung</th>
<th class="n">mean on the final seeds</th></tr></thead><tbody>
{% for row in candidates %}<tr{% if row.chosen %} class="chosen"{% endif %}>
<td class="n">{{ row.trial }}</td><td>{{ row.origin }}</td><td>{{ row.parameters }}</td>
{% for cell in row.cells %}<td class="n">{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
{% endif %}
<div class="two">
<div><h3>History</h3>{% if tuning.history %}<div class="plot">{{ tuning.history }}</div>
{% else %}<p class="soft">No trial is complete yet.</p>{% endif %}</div>
<div><h3>Importance</h3>{% if tuning.importance %}<div class="plot">{{ tuning.importance }}</div>
{% else %}<p class="soft">Importance needs two complete trials in which a shared parameter
differs.</p>{% endif %}</div>
</div>
<h3>Parallel coordinates</h3>
{% if tuning.parallel %}<div class="plot">{{ tuning.parallel }}</div>
{% else %}<p class="soft">Parallel coordinates need two complete trials in which a shared parameter
differs.</p>{% endif %}
<p class="note">{{ tuning.note }}</p>
{% else %}<p>Nothing was tuned.</p>
{% endif %}

<h2>All runs</h2>
{% if runs %}<div class="wrap"><table class="runs">
<thead><tr><th>phase</th><th>method</th><th class="n">trial</th><th class="n">seed</th>
<th>state</th>
<th>split</th><th class="n">value</th><th class="n">iterations</th><th class="n">seconds</th>
<th>parameters</th><th>folder, reason</th></tr></thead><tbody>
{% for run in runs %}<tr{% if run.chosen %} class="chosen"{% endif %}><td>{{ run.phase }}</td>
<td>{{ run.method }}
{%- if run.by_hand %} <span class="tag">set by hand</span>{% endif %}</td>
<td class="n">{{ run.trial }}</td><td class="n">{{ run.seed }}</td>
<td><span class="tag {{ run.state }}">{{ run.state }}</span></td><td>{{ run.split }}</td>
<td class="n">{{ run.value }}</td><td class="n">{{ run.iters }}</td>
<td class="n">{{ run.seconds }}</td>
<td class="wide">{{ run.parameters }}</td><td class="folder"><code>{{ run.run_dir }}</code>
{%- if run.reason %}<br>{{ run.reason }}{% endif %}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note">Shaded: the chosen trial.</p>
{% else %}<p>There is no run yet.</p>
{% endif %}

<h2>Time</h2>
<div class="two">
<div><h3>Runs by phase</h3>
<table class="time"><thead><tr><th>phase</th><th class="n">runs</th><th class="n">seconds</th>
<th class="n">in training</th></tr></thead><tbody>
{% for row in phases %}<tr><td>{{ row.phase }}</td><td class="n">{{ row.runs }}</td>
<td class="n">{{ row.seconds }}</td><td class="n">{{ row.train }}</td></tr>{% endfor %}
</tbody></table></div>
{% if time %}<div><h3>This study, by the clock</h3>
<table class="time"><tbody>{% for row in time %}<tr><td>{{ row.name }}</td>
<td class="n">{{ row.seconds }}</td><td class="n">{{ row.share }}</td>
<td style="width:38%"><div class="bar" style="width:{{ row.width }}"></div></td></tr>
{% endfor %}</tbody></table></div>{% endif %}
</div>
</main>
<script>
for (const [event, width] of [["beforeprint", 690], ["afterprint", null]])
  window.addEventListener(event, () => document.querySelectorAll(".js-plotly-plot").forEach(plot =>
  {
    const share = plot.closest(".two:not(.uneven)") ? 0.485 : 1;
    Plotly.relayout(plot, width ? {width: width * share, autosize: false}
                                : {width: null, autosize: true});
  }));
</script>
</body>
</html>
"""
