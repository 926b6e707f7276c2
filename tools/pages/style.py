"""How pages look, and the few lines by which their tables sort."""

from __future__ import annotations

COLOURS = 6  # of curves, told apart in light and dark

CSS = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1d2127;--soft:#5d6673;--line:#d9dee5;--card:#f5f7f9;
--bad:#b3261e;--good:#1b7a3d;--gap:#e9d9d9;--c0:#1f62b4;--c1:#c4520a;--c2:#207a3c;--c3:#8a3c96;
--c4:#8a6d00;--c5:#0b7d86}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--ink:#e6e9ed;--soft:#9aa4b1;--line:#333a43;
--card:#1c2026;
--bad:#ff8a80;--good:#7bd88f;--gap:#3d2c2e;--c0:#6ea8fe;--c1:#ff9f5a;--c2:#6fd08c;--c3:#d49be0;
--c4:#e0c04f;--c5:#5fd0d8}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1200px;padding:1rem;background:var(--paper);color:var(--ink);
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2rem 0 .6rem;
border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:0 0 .3rem}p{margin:.4rem 0}a{color:var(--c0)}
nav{display:flex;flex-wrap:wrap;gap:.2rem .9rem;margin:.6rem 0}
.soft{color:var(--soft);font-size:.87rem}.bad{color:var(--bad)}.good{color:var(--good)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(130px,1fr));gap:.6rem}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.5rem .7rem}
.tile b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.7rem;
margin:0 0 .9rem;break-inside:avoid}
.small{display:inline-block;vertical-align:top;width:calc(132px + 1.4rem + 2px);margin-right:.6rem}
.small h3{font-size:.85rem}
.row{display:flex;flex-wrap:wrap;gap:4px;padding-bottom:.3rem}
.row figure{margin:0;flex:0 0 auto;width:132px}.row.large figure{width:184px}
.row img{display:block;width:100%;height:auto;border-radius:4px}
.row figcaption{font-size:.75rem;line-height:1.25;color:var(--soft)}
.row .bad img{outline:3px solid var(--bad);outline-offset:-3px}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,330px),1fr));gap:.6rem;
margin:.6rem 0}
.chart{margin:0}.chart svg{display:block;width:100%;height:auto}
.chart figcaption{font-size:.82rem;color:var(--soft)}.key{margin-right:.8em;white-space:nowrap}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}.grid{stroke:var(--line)}.gap{fill:var(--gap)}
.mark{stroke:var(--bad);stroke-dasharray:3 2}.bar{fill:var(--c0)}
.l{fill:none;stroke-width:1.3}.again{stroke-dasharray:5 3}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.87rem;min-width:50%}
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:right;vertical-align:top}
th:first-child,td:first-child{text-align:left}th.w,td.w{text-align:left}
td:first-child{min-width:min(15rem,38vw);max-width:24rem}
th:first-child,td:first-child{position:sticky;left:0;background:var(--paper)}th:not(:first-child),td:not(:first-child){overflow-wrap:normal}
th button{all:unset;cursor:pointer;font-weight:600}th button:focus-visible{outline:2px solid var(--c0)}
th[aria-sort=ascending] button:after{content:" \\2191"}
th[aria-sort=descending] button:after{content:" \\2193"}
details{margin:.3rem 0}summary{cursor:pointer;color:var(--soft)}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) minmax(0,1fr);gap:.2rem 1rem;margin:.4rem 0}
dt{font-weight:600}dd{margin:0}
pre{overflow-x:auto;font-size:.8rem;background:var(--card);padding:.6rem;border-radius:8px}
@media (max-width:560px){body{padding:.6rem}.row{flex-wrap:nowrap;overflow-x:auto}
.row figure,.row.large figure{width:34vw}.small{width:calc(34vw + 1.4rem + 2px)}
dl{grid-template-columns:minmax(0,1fr)}dd{margin:0 0 .4rem}}
@media print{:root{--paper:#fff;--ink:#000;--soft:#444;--line:#bbb;--card:#fff;--bad:#b3261e;
--good:#1b7a3d;--gap:#e9d9d9;
--c0:#1f62b4;--c1:#c4520a;--c2:#207a3c;--c3:#8a3c96;--c4:#8a6d00;--c5:#0b7d86}
body{max-width:none;padding:0;font-size:11px}nav{display:none}.row{flex-wrap:wrap;overflow:visible}
.scroll{overflow:visible}th:first-child,td:first-child{position:static}}
""" + "".join(f".c{n}{{stroke:var(--c{n})}}b.c{n}{{color:var(--c{n})}}\n" for n in range(COLOURS))

# A click on a head sorts the rows of all tables of its group, and deals them out again as they were paged.
SCRIPT = """
document.addEventListener("click",function(event){
 var button=event.target.closest("th button");if(!button)return;
 var head=button.parentNode,group=head.closest(".paged"),column=head.cellIndex;
 var down=head.getAttribute("aria-sort")==="ascending",bodies=[].slice.call(group.querySelectorAll("tbody"));
 var counts=bodies.map(function(body){return body.rows.length}),rows=[];
 bodies.forEach(function(body){rows=rows.concat([].slice.call(body.rows))});
 function value(row){var text=row.cells[column].textContent.trim(),number=parseFloat(text);
  return column>0&&!isNaN(number)?number:text}
 rows=rows.map(function(row,place){return [value(row),place,row]});
 rows.sort(function(a,b){var x=a[0],y=b[0],n=typeof x==="number",m=typeof y==="number";
  if(n!==m)return n?-1:1;
  var order=n?x-y:x.localeCompare(y,undefined,{numeric:true});return (down?-order:order)||a[1]-b[1]});
 rows=rows.map(function(item){return item[2]});
 bodies.forEach(function(body,number){rows.splice(0,counts[number]).forEach(function(row){body.appendChild(row)})});
 [].forEach.call(group.querySelectorAll("th"),function(other){other.removeAttribute("aria-sort");
  if(other.cellIndex===column)other.setAttribute("aria-sort",down?"descending":"ascending")});
});
"""
