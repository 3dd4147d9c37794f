"""How the report looks, in light and dark and on paper, and the one script that it can do without.

Two hues carry meaning, blue and orange, which colour-blind readers tell apart; shapes, places and
words always say the same. All text has a contrast of at least 4.5 to its ground.
"""

from __future__ import annotations

import base64
import hashlib

__all__ = ["SCRIPT", "SCRIPT_HASH", "STYLE"]

STYLE = """
:root{color-scheme:light dark;--paper:#fcfbf8;--card:#f4f2ec;--ink:#1f1e1b;--soft:#5f5c55;
--line:#dcd8ce;--ours:#0b5fa5;--bad:#b3460a;--theirs:#6f6b62;
--serif:Charter,"Bitstream Charter","Sitka Text","Iowan Old Style",Cambria,Georgia,serif;
--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Helvetica Neue",Arial,sans-serif;
--mono:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media(prefers-color-scheme:dark){:root{--paper:#16181b;--card:#1f2226;--ink:#e9e6df;--soft:#aaa69d;
--line:#383b40;--ours:#74b6f4;--bad:#f39a63;--theirs:#a19d94}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 var(--sans);
font-variant-numeric:tabular-nums}
main,header,footer,nav{max-width:70rem;margin:0 auto;padding:0 1.5rem}
h1,h2,.big{font-family:var(--serif);font-weight:600;text-wrap:balance}
h1{font-size:clamp(1.7rem,4.2vw,2.6rem);line-height:1.15;margin:.3rem 0 .9rem;letter-spacing:-.01em}
h2{font-size:1.3rem;line-height:1.2;margin:0 0 .4rem}
h3,h2.minor{font:600 .95rem/1.4 var(--sans);margin:1.6rem 0 .4rem}
p{margin:0 0 .7rem}
a{color:var(--ours)}
.soft,.lead,figcaption,.facts dt,caption{color:var(--soft)}
.lead{font-size:.87rem}
small,.small{font-size:.84rem}
.top{display:flex;gap:.4rem 1rem;flex-wrap:wrap;padding-top:1.6rem;color:var(--soft);
font-size:.87rem}
.top b{color:var(--ink)}
nav{font-size:.84rem}main nav{padding:0}nav+section{border-top:0}
nav ul{display:flex;flex-wrap:wrap;gap:.1rem 1.1rem;list-style:none;margin:0;padding:.5rem 0;
border:solid var(--line);border-width:1px 0}
nav a{color:var(--soft);text-decoration:none}nav a:hover{color:var(--ours);
text-decoration:underline}
section{border-top:1px solid var(--line);padding:1.9rem 0}
section.verdict{border:0;padding:2rem 0 1.6rem}
.mark{display:inline-flex;align-items:center;gap:.45rem;font-weight:650;font-size:.92rem}
.mark svg{width:.95em;height:.95em;flex:none}
.mark.promoted,.mark.serves{color:var(--ours)}.mark.rejected{color:var(--bad)}
.mark.inconclusive{color:var(--soft)}
td .mark{font-size:1em}.mark .fill{fill:currentColor}
pre,code{font-family:var(--mono);font-size:.88em}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem;
margin:.2rem 0 .7rem;white-space:pre-wrap;overflow-wrap:anywhere}
.two{display:grid;gap:1.2rem 2.2rem;grid-template-columns:minmax(0,1fr)}
.cards{display:grid;gap:1rem;grid-template-columns:minmax(0,1fr)}
.card{background:var(--card);border-radius:8px;padding:1rem 1.1rem}
.card h3{margin:0;font-weight:400;color:var(--soft)}
.big{font-size:2.3rem;line-height:1.15;margin:.1rem 0 .3rem;letter-spacing:-.01em}
.big small{font-family:var(--sans);font-weight:400;font-size:.84rem;letter-spacing:0;
color:var(--soft)}
.delta{font-weight:600;margin:0 0 .5rem}
.delta.ours,.t-ours{color:var(--ours)}.delta.bad,.t-bad{color:var(--bad)}
.versus{display:grid;grid-template-columns:max-content 1fr max-content;gap:.25rem .7rem;
align-items:center;font-size:.84rem;color:var(--soft);margin-bottom:.5rem}
.versus .own{color:var(--ink)}
.card p:last-child,.note-end{margin-bottom:0}.cards+p{margin:.8rem 0 0}
figure+.scroll,.two+.scroll,.two+p,.scroll+figure{margin-top:1.1rem}
.facts{display:flex;flex-wrap:wrap;gap:.5rem 1.7rem;margin:.8rem 0}
.facts dt{font-size:.8rem}.facts dd{margin:0;font-weight:600}
figure{margin:0}figcaption{font-size:.84rem;margin-top:.3rem}
svg{display:block;width:100%;height:auto;overflow:visible}
svg text{font:13px var(--sans);fill:var(--ink);unicode-bidi:plaintext}
svg .tick,svg .note{fill:var(--soft)}svg .note,svg .name{paint-order:stroke;stroke:var(--paper);
stroke-width:3px;stroke-linejoin:round}svg .note{font-size:12.5px}svg .name{font-weight:600}
svg .name.ours{fill:var(--ours)}svg .name.theirs{fill:var(--theirs)}svg .name.bad{fill:var(--bad)}
svg .over{fill:var(--paper)}
.grid,.frame{stroke:var(--line);fill:none}.axis,.zero{stroke:var(--soft);fill:none}
.zero{stroke:var(--ink);stroke-width:1.5}
.level,.best{stroke:var(--soft);stroke-dasharray:4 4;fill:none}.best{stroke-dasharray:2 3}
.track{fill:var(--line)}
.ours{--c:var(--ours)}.bad{--c:var(--bad)}.theirs{--c:var(--theirs)}.quiet{--c:var(--line)}
.reach{fill:var(--c);fill-opacity:.33}.dot,.cell,.fillbar{fill:var(--c)}
.whisker,.curve,.cross{stroke:var(--c);fill:none;stroke-width:2}.curve.theirs{stroke-dasharray:6 4}
.cross{stroke-width:2.5}.area{fill:var(--c);fill-opacity:.35}
.spot{fill:var(--c);fill-opacity:.75;stroke:var(--paper)}
.hollow{fill:var(--paper);stroke:var(--ink);stroke-width:1.5}
.dots{stroke:var(--c);stroke-width:5;stroke-linecap:round;stroke-opacity:.5;fill:none}
.dots.theirs{stroke-opacity:.3}.faint{fill-opacity:.14}.level.strong{stroke:var(--ink)}
.one{max-width:34rem}
.ring{fill:none;stroke:var(--ours);stroke-width:2}
svg.bar{height:12px;min-width:4rem;overflow:hidden}
.scroll{overflow-x:auto;margin:0 0 .6rem}.scroll.tall{max-height:34rem;overflow-y:auto}
.scroll:focus-visible,a:focus-visible,[role=button]:focus-visible,
summary:focus-visible{outline:2px solid
var(--ours);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.87rem}
caption{text-align:start;font-size:.84rem;padding-bottom:.3rem}
caption.unseen{position:absolute;clip-path:inset(50%);height:1px;width:1px;overflow:hidden}
th,td{text-align:start;padding:.34rem .75rem .34rem 0;border-bottom:1px solid var(--line);
vertical-align:top}
svg.wide{min-width:34rem}
th:last-child,td:last-child{padding-right:0}
thead th{font-weight:600;color:var(--soft);font-size:.8rem;vertical-align:bottom;
background:var(--paper)}
.tall thead th{position:sticky;top:0;z-index:1}
tbody th{font-weight:600}
.n{text-align:end;white-space:nowrap}.s{white-space:nowrap}.w{min-width:6.5rem;width:18%;
vertical-align:top;padding-top:.62rem}
td.text{overflow-wrap:anywhere;min-width:14rem}
.name{overflow-wrap:anywhere;min-width:7.5rem;max-width:15rem}
td .soft,th .soft{font-weight:400;font-size:.93em}
th [role=button]{cursor:pointer}
th [role=button]::after{content:" ↕";opacity:.5}
th[aria-sort=ascending] [role=button]::after{content:" ↑";opacity:1}
th[aria-sort=descending] [role=button]::after{content:" ↓";opacity:1}
.flow{display:grid;grid-template-columns:minmax(8rem,max-content) minmax(4rem,1fr) max-content;
gap:.28rem .9rem;align-items:center;font-size:.9rem;margin:0 0 .8rem}
.flow .sum{font-weight:600}.flow .part{padding-inline-start:1rem}
.flow bdi,.classes bdi{overflow-wrap:anywhere}
.warn{border-inline-start:3px solid var(--bad);padding-inline-start:.8rem}
details{margin:.4rem 0}summary{cursor:pointer;color:var(--ours);font-size:.9rem}
.wrap{overflow-wrap:anywhere}
footer{color:var(--soft);font-size:.84rem;padding-top:0;padding-bottom:3rem}
@media(min-width:46rem){.cards{grid-template-columns:repeat(3,minmax(0,1fr))}
.two{grid-template-columns:repeat(2,minmax(0,1fr))}}
@media(min-width:62rem){section:not(.verdict){display:grid;gap:2.4rem;
grid-template-columns:12rem minmax(0,1fr)}.verdict .two{grid-template-columns:1.15fr 1fr}}
@media(max-width:46rem){body{font-size:16px}main,header,footer,nav{padding-left:1rem;
padding-right:1rem}table.stack thead{position:absolute;clip-path:inset(50%);height:1px;width:1px;
overflow:hidden}table.stack tr{display:block;border-bottom:1px solid var(--line);padding:.5rem 0}
table.stack td,table.stack th{display:block;border:0;padding:.08rem 0;text-align:start}
table.stack [data-name]::before{content:attr(data-name) ": ";color:var(--soft)}
table.stack td.text,table.stack .name{min-width:0;max-width:none}nav ul{flex-wrap:nowrap;
overflow-x:auto;white-space:nowrap}}
@media print{:root{color-scheme:light;--paper:#fff;--card:#f5f4f0;--ink:#111;--soft:#55524c;
--line:#d5d1c8;--ours:#0b5fa5;--bad:#b3460a;--theirs:#6f6b62}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}body{font-size:10.5pt}nav{display:none}
.scroll,.scroll.tall{max-height:none;overflow:visible}section{padding:1.1rem 0}
figure,.card,tr{break-inside:avoid}
th{position:static!important}
th [role=button]::after{content:none!important}h2,h3{break-after:avoid}}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
""".strip()

SCRIPT = """
for(const table of document.querySelectorAll("table.sortable")){
const heads=[...table.tHead.rows[0].cells];
heads.forEach((head,place)=>{
if(head.dataset.fixed!==undefined)return;
// Not a <button>: browsers leave those out where a printed table's head repeats.
const button=document.createElement("span");
button.setAttribute("role","button");button.tabIndex=0;
button.append(...head.childNodes);head.append(button);
button.onclick=()=>{
const down=head.getAttribute("aria-sort")==="ascending";
heads.forEach(other=>other.removeAttribute("aria-sort"));
head.setAttribute("aria-sort",down?"descending":"ascending");
const key=row=>{const cell=row.cells[place];const v=cell.dataset.v;
return v===undefined?cell.textContent:Number(v)};
const rows=[...table.tBodies[0].rows].sort((a,b)=>{const x=key(a),y=key(b);
return (typeof x==="number"?x-y:x.localeCompare(y))*(down?-1:1)});
table.tBodies[0].append(...rows)};
button.onkeydown=event=>{if(event.key==="Enter"||event.key===" "){
event.preventDefault();button.onclick()}}})}
""".strip()

SCRIPT_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
"""What the page's policy lets run: this script, and none that data could bring."""
