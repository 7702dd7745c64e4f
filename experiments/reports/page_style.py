"""The style sheet of the pages."""

CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 58rem;
  margin: 0 auto; padding: 1rem; overflow-wrap: break-word }
h1, h2 { line-height: 1.2 }
h2 { margin-top: 2.5rem }
figure { margin: 1.5rem 0 }
img { max-width: 100%; height: auto }
figcaption { color: #555; font-size: .9rem }
.scroll { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .9rem; white-space: nowrap }
th, td { padding: .35rem .6rem; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top }
.text { white-space: normal; min-width: 15rem }
@media (max-width: 40rem) {
  table { font-size: .8rem }
  th, td { padding: .3rem }
  .text { min-width: 8rem }
}
tr > :first-child { position: sticky; left: 0; background: #fff; font-weight: 600 }
.verdict { border-left: .4rem solid #777; background: #f6f6f6; padding: .5rem 1rem;
  margin: 1rem 0 }
.verdict p { margin: .3rem 0 }
.verdict.supported { border-color: #009E73; background: #EAF6F1 }
.verdict.falsified { border-color: #D55E00; background: #FBEEE6 }
.judged .verdict { margin: .4rem 0; padding: .2rem .8rem }
.judged fieldset { border: 0; padding: 0; margin: 1rem 0 }
.judged legend { font-weight: 600 }
.judged label { display: inline-block; margin: .2rem 1rem .2rem 0; padding: 0 .4rem;
  border-bottom: .2rem solid #777 }
.judged label.supported { border-color: #009E73 }
.judged label.falsified { border-color: #D55E00 }
.judged label.all { border-color: #fff }
.judged:has(.only-supported:checked) .verdict:not(.supported),
.judged:has(.only-falsified:checked) .verdict:not(.falsified),
.judged:has(.only-inconclusive:checked) .verdict:not(.inconclusive) { display: none }
.answer { font-size: 1.1rem }
nav ol { columns: 14rem }
dt { font-weight: 600 }
dd { margin: 0 0 .5rem; font-family: monospace }
"""
