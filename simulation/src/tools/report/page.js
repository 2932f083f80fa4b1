'use strict';
const report = JSON.parse(document.getElementById('report').textContent);
const byId = (id) => document.getElementById(id);

/** An element with children; text is never read as HTML. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
function drawn(name, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
const seconds = (ms) => `${(ms / 1000).toFixed(3)} s`;
const number = (n) => n.toLocaleString('en');

// Shape, colour and layer of each kind of mark; what is first in the list is drawn last.
const KINDS = {
  invoke: ['disc', 'blue', 'operations', 'sent'],
  resent: ['ring', 'blue', 'operations', 'sent again'],
  applied: ['square', 'blue', 'operations', 'applied'],
  acked: ['disc', 'green', 'operations', 'acknowledged'],
  refused: ['cross', 'red', 'operations', 'refused'],
  not_now: ['cross', 'orange', 'operations', 'told to wait'],
  rebase: ['diamond', 'orange', 'operations', 'base too old'],
  handed_back: ['square', 'violet', 'operations', 'handed back'],
  outcome: ['ring', 'grey', 'log', 'no event came of it'],
  opened: ['up', 'green', 'sessions', 'opened'],
  closed: ['down', 'grey', 'sessions', 'closed'],
  resynced: ['up', 'orange', 'sessions', 'begun anew'],
  role_told: ['diamond', 'violet', 'sessions', 'role told'],
  hello: ['ring', 'grey', 'sessions', 'asks to come in'],
  granted: ['diamond', 'violet', 'sessions', 'granted'],
  settled: ['ring', 'green', 'sessions', 'settled'],
  suspects: ['ring', 'red', 'raft', 'suspects a leader'],
  takes_over: ['flag', 'red', 'raft', 'takes over'],
  recovered: ['ring', 'green', 'raft', 'log read'],
  leads: ['flag', 'orange', 'raft', 'leads'],
  voted: ['diamond', 'grey', 'raft', 'votes'],
  truncated: ['cross', 'violet', 'raft', 'log cut'],
  started: ['up', 'green', 'raft', 'starts'],
  not_started: ['cross', 'red', 'raft', 'refuses to start'],
  disk: ['square', 'orange', 'raft', 'disk replaced'],
  error_line: ['cross', 'red', 'raft', 'error line'],
  expected_error: ['cross', 'grey', 'raft', 'expected error line'],
  panic: ['cross', 'red', 'raft', 'panic'],
  document: ['ring', 'grey', 'raft', 'document at the end'],
  healing: ['tick', 'green', 'raft', 'faults off'],
  healed: ['tick', 'green', 'raft', 'healed'],
  appended: ['tick', 'grey', 'log', 'appended'],
  synced: ['tick', 'green', 'log', 'synced'],
  committed: ['tick', 'blue', 'log', 'committed'],
  state: ['tick', 'violet', 'log', 'state hashed'],
  received: ['dot', 'grey', 'feed', 'event received'],
  view: ['dot', 'green', 'feed', 'view'],
  marked: ['dot', 'violet', 'feed', 'chain told'],
};
const LAYERS = { operations: true, sessions: true, raft: true, log: false, feed: false };
const LABELS = 168;
const view = { from: 0, to: 1, story: null, chosen: null, allGroups: false };

function shape(kind, x, y) {
  const [form, colour] = KINDS[kind] || ['disc', 'grey'];
  const fill = `var(--${colour})`;
  const path = (d) => drawn('path', { d, fill, stroke: fill });
  switch (form) {
    case 'disc': return drawn('circle', { cx: x, cy: y, r: 4.2, fill });
    case 'dot': return drawn('circle', { cx: x, cy: y, r: 2, fill });
    case 'ring': return drawn('circle', { cx: x, cy: y, r: 3.6, fill: 'none', stroke: fill, 'stroke-width': 2 });
    case 'square': return drawn('rect', { x: x - 3.6, y: y - 3.6, width: 7.2, height: 7.2, rx: 1, fill });
    case 'tick': return drawn('rect', { x: x - 0.7, y: y - 4, width: 1.4, height: 8, fill });
    case 'diamond': return path(`M${x} ${y - 4.5}L${x + 4.5} ${y}L${x} ${y + 4.5}L${x - 4.5} ${y}Z`);
    case 'up': return path(`M${x} ${y - 4.5}L${x + 4.2} ${y + 3.5}H${x - 4.2}Z`);
    case 'down': return path(`M${x} ${y + 4.5}L${x + 4.2} ${y - 3.5}H${x - 4.2}Z`);
    case 'flag': return path(`M${x} ${y + 6}V${y - 6}L${x + 8} ${y - 3}L${x} ${y}`);
    default: return drawn('path', { d: `M${x - 4} ${y - 4}L${x + 4} ${y + 4}M${x - 4} ${y + 4}L${x + 4} ${y - 4}`, stroke: fill, 'stroke-width': 2.2 });
  }
}

const hue = (term) => `hsl(${(term * 67 + 200) % 360} var(--lead-s) var(--lead-l))`;

/** Where lanes and faults lie; computed once a story. */
function prepare(story) {
  const groups = [...new Set(story.spans.filter((s) => s.kind === 'leads').map((s) => s.group))].sort((a, b) => a - b);
  const shown = story.focus.groups.length && !view.allGroups ? story.focus.groups : groups;
  const faults = story.spans.filter((span) => span.kind === 'fault');
  const rows = [];
  for (const fault of faults) {
    let row = rows.findIndex((end) => end <= fault.from_ms);
    if (row < 0) row = rows.length;
    rows[row] = fault.to_ms + 400;
    fault.row = row;
  }
  let y = 26 + rows.length * 17 + (rows.length ? 8 : 0);
  const lanes = story.lanes.map((lane) => {
    const height = lane.kind === 'node' ? 38 + shown.length * 6 : lane.kind === 'client' ? 32 : 24;
    const place = { ...lane, top: y, height, middle: y + (lane.kind === 'router' ? 12 : 16) };
    y += height;
    return place;
  });
  const operations = new Map();
  story.marks.forEach((mark, i) => {
    mark.i = i;
    if (!mark.operation) return;
    if (!operations.has(mark.operation)) operations.set(mark.operation, []);
    operations.get(mark.operation).push(mark);
  });
  story.drawing = { lanes, shown, groups, faults, operations, height: y + 6 };
}

function height(mark, lane) {
  const layer = (KINDS[mark.kind] || [])[2];
  if (lane.kind === 'node') {
    if (mark.kind === 'voted' || mark.kind === 'leads') return lane.top + 9;
    if (layer === 'log') return lane.top + 30;
    return lane.top + 20;
  }
  return layer === 'feed' ? lane.top + 27 : lane.middle - (layer === 'sessions' ? 6 : 0);
}

function draw() {
  const { story, from, to, chosen } = view;
  const { lanes, shown, faults, operations, height: tall } = story.drawing;
  const chart = byId('chart');
  const wide = Math.max(chart.clientWidth, 500);
  const x = (ms) => LABELS + ((ms - from) / (to - from)) * (wide - LABELS - 14);
  const clipped = (ms) => Math.min(Math.max(x(ms), LABELS), wide);
  const svg = drawn('svg', { width: wide, height: tall });
  const add = (...all) => svg.append(...all);

  const step = nice((to - from) / Math.max(4, (wide - LABELS) / 130));
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
    add(drawn('line', { x1: x(t), x2: x(t), y1: 20, y2: tall, stroke: 'var(--line)' }));
    const digits = step < 1 ? 4 : step < 10 ? 3 : step < 100 ? 2 : 1;
    add(drawn('text', { x: x(t), y: 14, class: 'soft', 'text-anchor': 'middle' }, `${(t / 1000).toFixed(digits)} s`));
  }
  for (const fault of faults) {
    if (fault.to_ms < from || fault.from_ms > to) continue;
    const [left, right] = [clipped(fault.from_ms), clipped(fault.to_ms)];
    const top = 24 + fault.row * 17;
    for (const at of fault.lanes) {
      const { top: laneTop, height: laneHeight } = lanes[at];
      add(drawn('rect', { x: left, y: laneTop, width: Math.max(right - left, 2), height: laneHeight, fill: 'var(--band)' }));
    }
    const bar = drawn('rect', { x: left, y: top, width: Math.max(right - left, 3), height: 14, rx: 3, fill: 'var(--red)', opacity: 0.75 });
    bar.append(drawn('title', {}, `${fault.text}\n${seconds(fault.from_ms)} to ${seconds(fault.to_ms)}`));
    const room = right - left > fault.text.length * 6.3;
    const text = room
      ? drawn('text', { x: left + 5, y: top + 11, style: 'fill: var(--panel)' }, fault.text)
      : drawn('text', { x: right + 4, y: top + 11, class: 'soft' }, fault.text);
    add(bar, text);
  }
  lanes.forEach((lane) => {
    add(drawn('line', { x1: 0, x2: wide, y1: lane.top, y2: lane.top, stroke: 'var(--line)' }));
    add(drawn('line', { x1: LABELS, x2: wide, y1: lane.middle + (lane.kind === 'node' ? 4 : 0), y2: lane.middle + (lane.kind === 'node' ? 4 : 0), stroke: 'var(--line)', 'stroke-dasharray': '1 4' }));
  });
  for (const span of story.spans) {
    const row = shown.indexOf(span.group);
    if (span.kind !== 'leads' || row < 0 || span.to_ms < from || span.from_ms > to) continue;
    for (const at of span.lanes) {
      const left = clipped(span.from_ms);
      const bar = drawn('rect', {
        x: left, y: lanes[at].top + 36 + row * 6, height: 5, rx: 1.5,
        width: Math.max(clipped(span.to_ms) - left, 2), fill: hue(span.term),
      });
      bar.append(drawn('title', {}, `${span.text}\n${seconds(span.from_ms)} to ${seconds(span.to_ms)}`));
      add(bar);
    }
  }

  const inView = (mark) => mark.at_ms >= from && mark.at_ms <= to;
  const place = (mark) => ({ x: x(mark.at_ms), y: height(mark, lanes[mark.lane]) });
  const arrow = (a, b, colour, strong) => {
    if (a.lane === null || b.lane === null) return;
    const [s, e] = [place(a), place(b)];
    const line = drawn('path', {
      d: `M${s.x} ${s.y}L${e.x} ${e.y}`, stroke: `var(--${colour})`, fill: 'none',
      'stroke-width': strong ? 2 : 1, opacity: strong ? 1 : 0.35,
    });
    add(line);
    if (!strong) return;
    const angle = (Math.atan2(e.y - s.y, e.x - s.x) * 180) / Math.PI;
    add(drawn('path', { d: 'M-5 0L-12 -4V4Z', fill: `var(--${colour})`, transform: `translate(${e.x} ${e.y}) rotate(${angle})` }));
  };
  const MOST_ARROWS = 1200;
  let arrows = 0;
  const life = (marks, strong) => {
    const applied = marks.filter((m) => m.kind === 'applied');
    const first = applied[0];
    const last = (limit) => marks.filter((m) => (m.kind === 'invoke' || m.kind === 'resent') && m.at_ms <= limit).pop();
    const sent = first ? last(first.at_ms) : undefined;
    const acks = marks.filter((m) => m.kind === 'acked');
    if (strong) {
      for (const mark of applied.slice(1)) arrow(sent || first, mark, 'grey', false);
      if (first) for (const mark of marks.filter((m) => m.kind === 'received')) arrow(first, mark, 'grey', false);
    }
    if (sent) arrow(sent, first, 'blue', strong);
    const source = first || last(Infinity);
    if (source) for (const ack of acks.slice(0, strong ? 9 : 1)) arrow(source, ack, 'green', strong);
  };
  if (LAYERS.operations) {
    for (const [name, marks] of operations) {
      if (name === chosen || arrows > MOST_ARROWS || !marks.some(inView)) continue;
      arrows += 2;
      life(marks, false);
    }
  }
  if (chosen && operations.has(chosen)) life(operations.get(chosen), true);

  const MOST_MARKS = 6000;
  const many = story.marks.filter((mark) => inView(mark) && mark.lane !== null && visible(mark));
  const some = many.length > MOST_MARKS ? many.filter((mark) => !['log', 'feed'].includes(KINDS[mark.kind]?.[2])) : many;
  for (const mark of some.slice(0, MOST_MARKS)) {
    const at = place(mark);
    const made = shape(mark.kind, at.x, at.y);
    made.setAttribute('class', 'hit');
    made.dataset.i = mark.i;
    if (mark.operation && mark.operation === chosen) {
      add(drawn('circle', { cx: at.x, cy: at.y, r: 8, fill: 'none', stroke: 'var(--ink)', 'stroke-width': 1.2 }));
    }
    made.append(drawn('title', {}, `${seconds(mark.at_ms)}  ${mark.kind}\n${mark.text}`));
    add(made);
  }
  const across = story.marks.filter((mark) => mark.lane === null && inView(mark));
  for (const mark of across) {
    add(drawn('line', { x1: x(mark.at_ms), x2: x(mark.at_ms), y1: 20, y2: tall, stroke: 'var(--green)', 'stroke-dasharray': '5 4' }));
    add(drawn('text', { x: x(mark.at_ms) + 4, y: tall - 4, class: 'soft' }, mark.text.slice(0, 60)));
  }
  for (const violation of report.verdict.violations) {
    const at = Math.min(violation.at_ms, story.end_ms);
    if (at < from || at > to) continue;
    add(drawn('line', { x1: x(at), x2: x(at), y1: 18, y2: tall, stroke: 'var(--red)', 'stroke-width': 2 }));
    const side = x(at) > wide - 160 ? { x: x(at) - 5, 'text-anchor': 'end' } : { x: x(at) + 5 };
    add(drawn('text', { ...side, y: tall - 4, style: 'fill: var(--red); font-weight: 600' }, violation.oracle));
  }
  // Names lie over all that is left of the window.
  add(drawn('rect', { x: 0, y: 0, width: LABELS, height: tall, fill: 'var(--panel)' }));
  if (faults.length) add(drawn('text', { x: 10, y: 36, class: 'soft' }, 'faults'));
  for (const lane of lanes) {
    add(drawn('line', { x1: 0, x2: LABELS, y1: lane.top, y2: lane.top, stroke: 'var(--line)' }));
    add(drawn('text', { x: 10, y: lane.middle + 4 }, lane.name));
    if (lane.kind === 'node' && shown.length) {
      const groups = shown.length > 3 ? `groups ${shown[0]}…${shown[shown.length - 1]}` : `group ${shown.join(', ')}`;
      add(drawn('text', { x: LABELS - 8, y: lane.top + lane.height - 6, class: 'soft', 'text-anchor': 'end' }, groups));
    }
  }
  chart.replaceChildren(svg);
  const hidden = many.length - some.length;
  byId('window').textContent = `${seconds(from)} to ${seconds(to)}` + (hidden ? `, ${hidden} small marks hidden: zoom in` : '');
  byId('where').value = Math.round(1000 * place01(from, to, story.end_ms));
  byId('width').value = Math.round(1000 * Math.log(story.end_ms / (to - from)) / Math.log(story.end_ms / 2));
}
const place01 = (from, to, end) => (to - from >= end ? 0.5 : from / (end - (to - from)));

function nice(raw) {
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
}

const chosenMark = (mark) => mark.operation && mark.operation === view.chosen;
function visible(mark) {
  const layer = (KINDS[mark.kind] || [])[2] || 'raft';
  const { shown, groups } = view.story.drawing;
  if (mark.group !== undefined && groups.includes(mark.group) && !shown.includes(mark.group)) return false;
  return LAYERS[layer] || chosenMark(mark);
}

function show(from, to) {
  const end = Math.max(view.story.end_ms, 1);
  const width = Math.min(Math.max(to - from, 2), end);
  view.from = Math.min(Math.max(from, 0), end - width);
  view.to = view.from + width;
  draw();
}

const VIEWS = {
  focus: () => show(view.story.focus.from_ms, view.story.focus.to_ms),
  all: () => show(0, view.story.end_ms),
  operation: () => {
    const marks = view.story.drawing.operations.get(view.chosen);
    if (!marks) return VIEWS.focus();
    const [first, last] = [marks[0].at_ms, marks[marks.length - 1].at_ms];
    const margin = Math.max(20, (last - first) * 0.15);
    return show(first - margin, last + margin);
  },
};

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
    element('div', { class: 'name' }, `${v.oracle} (${v.property}) at ${seconds(v.at_ms)}`),
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
  return rows;
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
    element('div', {}, element('h3', {}, 'as the seed makes it'), lines(rows.map(([a, b]) => [a ?? ' ', a !== null && b === null ? 'gone' : '']))),
    element('div', {}, element('h3', {}, 'cut down, still failing the same way'), lines(rows.map(([a, b]) => [b ?? ' ', a === null ? 'new' : '']))));
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
  for (const [kind, [, , , label]] of Object.entries(KINDS)) {
    const icon = drawn('svg', { width: 16, height: 16 });
    icon.append(shape(kind, 7, 8));
    byId('legend').append(element('span', {}, icon, label));
  }
}

head();
violations();
plans();
nearest();
counts();
trace();
controls();
open(report.stories[0]);
