function choose(operation) {
  view.chosen = operation;
  const marks = view.story.drawing.operations.get(operation);
  const detail = byId('detail');
  detail.replaceChildren();
  if (!marks) return;
  const [client, seq] = operation.split(':');
  const table = element('table');
  for (const mark of marks) {
    const lane = mark.lane === null ? '' : view.story.lanes[mark.lane].name;
    table.append(element('tr', {},
      element('td', { class: 'number' }, seconds(mark.at_ms)), element('td', {}, lane),
      element('td', {}, mark.kind.replace('_', ' ')), element('td', { class: 'mono' }, mark.text)));
  }
  const document = marks.find((mark) => mark.document)?.document;
  detail.append(element('h3', {}, `operation ${seq} of client ${client}` + (document ? `, document ${document}` : '')),
    element('div', { class: 'scroll' }, table));
}

function chooseMark(mark) {
  if (mark.operation) return choose(mark.operation);
  view.chosen = null;
  const lane = mark.lane === null ? '' : view.story.lanes[mark.lane].name;
  byId('detail').replaceChildren(element('div', {}, `${seconds(mark.at_ms)}  ${lane}  ${mark.kind.replace('_', ' ')}: ${mark.text}`));
}

function open(story) {
  view.story = story;
  prepare(story);
  legend(story);
  choose(story.focus.operations[0]);
  VIEWS.focus();
}

function head() {
  const { verdict, command, commit } = report;
  const held = verdict.violations.length === 0;
  byId('badge').textContent = held ? 'held' : 'BROKEN';
  if (held) byId('badge').classList.add('held');
  byId('headline').textContent = report.signature || 'all held';
  document.title = `seed ${verdict.seed}: ${report.signature || 'held'}`;
  const facts = [
    `seed ${verdict.seed}`, commit && `commit ${commit}`, verdict.mutant && `planted bug ${verdict.mutant}`,
    `${seconds(verdict.simulated_ms)} simulated`, `${number(verdict.acknowledged)} operations acknowledged`,
    `faults: ${Object.entries(verdict.struck).map(([k, n]) => `${k} ${n}`).join(', ') || 'none'}`,
  ];
  byId('facts').append(...facts.filter(Boolean).map((fact) => element('span', {}, fact)));
  byId('command').textContent = command;
  byId('copy').onclick = () => navigator.clipboard?.writeText(command).then(() => { byId('copy').textContent = 'copied'; });
}

function violations() {
  const list = [...report.verdict.violations].sort((a, b) => a.at_ms - b.at_ms);
  if (!list.length) return;
  const told = (v) => element('div', { class: 'violation' },
    element('div', { class: 'name' }, `${v.oracle}${v.property ? ` (${v.property})` : ''} at ${seconds(v.at_ms)}`),
    element('h3', {}, 'promised'), element('div', { class: 'promised' }, v.promised),
    element('h3', {}, 'broken'), element('div', { class: 'broken mono' }, v.broken));
  const section = byId('violations');
  section.append(told(list[0]));
  if (list.length > 1) {
    section.append(element('details', {}, element('summary', {}, `${list.length - 1} more, which may follow from it`), ...list.slice(1).map(told)));
  }
}

/** Two lists of lines beside each other: what both have stands at the same height. */
function beside(left, right) {
  const kept = new Map();
  for (const line of right) kept.set(line, (kept.get(line) || 0) + 1);
  const rows = [];
  let next = 0;
  for (const line of left) {
    if (kept.get(line) > 0) {
      kept.set(line, kept.get(line) - 1);
      while (right[next] !== line && next < right.length) rows.push([null, right[next++]]);
      rows.push([line, right[next++]]);
    } else rows.push([line, null]);
  }
  while (next < right.length) rows.push([null, right[next++]]);
  return paired(rows);
}

/** A line that only has other numbers stands beside the one that it came from. */
function paired(rows) {
  const shape = (text) => text.replace(/\d+/g, '#');
  const out = [];
  for (const [left, right] of rows) {
    let place = -1;
    if (left === null) {
      for (let i = out.length - 1; i >= 0 && (out[i][0] === null) !== (out[i][1] === null); i -= 1) {
        if (out[i][1] === null && shape(out[i][0]) === shape(right)) place = i;
      }
    }
    if (place < 0) out.push([left, right]);
    else out[place][1] = right;
  }
  return out;
}

function lines(list) {
  const box = element('div', { class: 'lines mono' });
  for (const [text, kind] of list) box.append(element('div', kind ? { class: kind } : {}, text));
  return box;
}

function plans() {
  const section = byId('plans');
  const { plan_lines: full, shrunk_lines: small } = report;
  if (!small) {
    section.append(element('h2', {}, 'The plan'), element('div', { class: 'scroll' }, lines(full.map((line) => [line]))));
    return;
  }
  const rows = beside(full, small);
  const two = element('div', { class: 'two scroll' },
    element('div', {}, element('h3', {}, 'as the seed makes it'), lines(rows.map(([a, b]) => [a ?? ' ', a !== null && a !== b ? 'gone' : '']))),
    element('div', {}, element('h3', {}, 'cut down, still failing the same way'), lines(rows.map(([a, b]) => [b ?? ' ', b !== null && a !== b ? 'new' : '']))));
  section.append(element('h2', {}, 'The plan, and what the failure needs of it'), two);
}

function nearest() {
  const section = byId('nearest');
  const { nearest: found } = report;
  if (!found) return;
  section.append(element('h2', {}, 'The nearest run that holds'), element('div', {}, found.what));
  const part = (title, difference) => {
    if (!difference) return element('div', { class: 'soft' }, `${title}: no difference`);
    const { before, left, right, line } = difference;
    const ends = [['(ends here)', 'soft']];
    return element('div', {}, element('h3', {}, `${title}, first difference in line ${number(line)}`), lines([
      ...before.map((text) => [`  ${text}`, 'soft']),
      ...(left.length ? left.map((text) => [`holds   ${text}`, 'new']) : ends),
      ...(right.length ? right.map((text) => [`fails   ${text}`, 'gone']) : ends)]));
  };
  section.append(part('what clients and nodes saw', found.record), part('the whole trace', found.trace));
}

function counts() {
  const { sometimes, struck } = report.verdict;
  const rows = (entries) => element('table', {}, ...entries.map(([name, count, what]) => element('tr', {},
    element('td', { class: 'mono' }, name), element('td', { class: 'number' }, number(count)), element('td', { class: 'soft' }, what || ''))));
  byId('counts').append(element('div', { class: 'two' },
    element('div', {}, element('h2', {}, 'Faults that struck'), rows(Object.entries(struck))),
    element('div', {}, element('h2', {}, 'Rare states that it reached'),
      rows(report.states.filter(([name]) => sometimes[name]).map(([name, what]) => [name, sometimes[name], what])))));
}

function trace() {
  if (!report.trace.length) return;
  byId('trace').append(element('details', {}, element('summary', {}, 'The trace around the violation'),
    element('div', { class: 'scroll' }, lines(report.trace.map((line) => [line])))));
}

function controls() {
  report.stories.forEach((story, i) => byId('story').append(element('option', { value: i }, story.name)));
  byId('story').onchange = (event) => open(report.stories[event.target.value]);
  for (const button of document.querySelectorAll('[data-view]')) button.onclick = () => VIEWS[button.dataset.view]();
  const box = (label, checked, change) => {
    const input = element('input', { type: 'checkbox' });
    input.checked = checked;
    input.onchange = () => { change(input.checked); draw(); };
    byId('layers').append(element('label', {}, input, label));
  };
  for (const layer of Object.keys(LAYERS)) box(layer, LAYERS[layer], (on) => { LAYERS[layer] = on; });
  box('all groups', false, (on) => { view.allGroups = on; prepare(view.story); });
  byId('where').oninput = (event) => {
    const width = view.to - view.from;
    const from = (event.target.value / 1000) * (view.story.end_ms - width);
    show(from, from + width);
  };
  byId('width').oninput = (event) => {
    const end = view.story.end_ms;
    const width = end / (end / 2) ** (event.target.value / 1000);
    const middle = (view.from + view.to) / 2;
    show(middle - width / 2, middle + width / 2);
  };
  const chart = byId('chart');
  chart.addEventListener('wheel', (event) => {
    event.preventDefault();
    const share = (event.offsetX - LABELS) / (chart.clientWidth - LABELS);
    const at = view.from + share * (view.to - view.from);
    const factor = event.deltaY > 0 ? 1.25 : 0.8;
    show(at - (at - view.from) * factor, at + (view.to - at) * factor);
  }, { passive: false });
  let drag = null;
  chart.onpointerdown = (event) => { drag = { x: event.clientX, from: view.from, to: view.to, moved: false }; };
  window.addEventListener('pointermove', (event) => {
    if (!drag || Math.abs(event.clientX - drag.x) < 4) return;
    drag.moved = true;
    chart.classList.add('dragging');
    const shift = ((drag.x - event.clientX) / (chart.clientWidth - LABELS)) * (drag.to - drag.from);
    show(drag.from + shift, drag.to + shift);
  });
  window.addEventListener('pointerup', () => { chart.classList.remove('dragging'); setTimeout(() => { drag = null; }); });
  chart.addEventListener('click', (event) => {
    const hit = event.target.closest('.hit');
    if (drag?.moved || !hit) return;
    chooseMark(view.story.marks[hit.dataset.i]);
    draw();
  });
  window.addEventListener('resize', draw);
}

/** What the marks of a story mean. */
function legend(story) {
  const present = new Set(story.marks.map((mark) => mark.kind));
  byId('legend').replaceChildren(...Object.keys(KINDS).filter((kind) => present.has(kind)).map((kind) => {
    const icon = drawn('svg', { width: 16, height: 16 });
    icon.append(shape(kind, 7, 8));
    return element('span', {}, icon, KINDS[kind][3]);
  }));
}

head();
violations();
plans();
nearest();
counts();
trace();
controls();
open(report.stories[0]);
