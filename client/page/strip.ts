// The strip of a development cluster: which processes run, who leads this document, how long a
// key takes to be saved, and a button that kills the leader.

interface Running {
  id: number;
  pid: number;
  alive: boolean;
  restarts: number;
}

interface Cluster {
  nodes: Running[];
  leader: number | null;
  term: number | null;
}

const EVERY_MS = 500;
/** After a kill, until somebody leads again. */
const HURRY_MS = 60;
const SPARKS = 60;
const KEPT = 1_000;

export class Strip {
  private readonly root = byId("strip");
  private readonly kill = byId<HTMLButtonElement>("kill");
  private times: number[] = [];
  private drawn = false;
  private cards = new Map<number, Card>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly doc: string,
    private readonly token: string,
  ) {
    this.kill.addEventListener("click", () => void this.killLeader());
  }

  /** Shows itself where there is a development cluster. */
  async start(): Promise<void> {
    if ((await this.read()) === null) return;
    this.root.hidden = false;
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.timer);
      if (!document.hidden) void this.poll();
    });
    void this.poll();
  }

  /** Keystrokes were saved, each after so many milliseconds. */
  saved(tookMs: number[]): void {
    this.times.push(...tookMs);
    if (this.times.length > KEPT) this.times = this.times.slice(-KEPT);
    if (this.drawn) return;
    this.drawn = true;
    requestAnimationFrame(() => this.draw());
  }

  private async poll(): Promise<void> {
    clearTimeout(this.timer);
    const cluster = await this.read();
    if (cluster) this.show(cluster);
    const settled = cluster?.leader != null && cluster.nodes.every((node) => node.alive);
    if (document.hidden) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.poll(), settled ? EVERY_MS : HURRY_MS);
  }

  private async read(): Promise<Cluster | null> {
    try {
      const response = await fetch(`/dev/cluster?doc=${encodeURIComponent(this.doc)}`);
      return response.ok ? ((await response.json()) as Cluster) : null;
    } catch {
      return null;
    }
  }

  private show(cluster: Cluster): void {
    for (const node of cluster.nodes) {
      let card = this.cards.get(node.id);
      if (!card) {
        card = new Card(node.id);
        this.cards.set(node.id, card);
        byId("nodes").append(card.element);
      }
      card.show(node, node.id === cluster.leader);
    }
    const leads = cluster.nodes.some((node) => node.id === cluster.leader && node.alive);
    this.kill.disabled = !leads;
    this.kill.title = leads ? `Sends kill -9 to node ${cluster.leader}` : "Nobody leads right now";
  }

  private async killLeader(): Promise<void> {
    this.kill.disabled = true;
    const said = byId("kill-text");
    try {
      const response = await fetch(`/dev/kill?doc=${encodeURIComponent(this.doc)}`, {
        method: "POST",
        headers: { authorization: `Bearer ${this.token}` },
      });
      if (!response.ok) throw new Error(await response.text());
      const { killed } = (await response.json()) as { killed: Running };
      said.textContent = `Node ${killed.id} was killed.`;
      this.cards.get(killed.id)?.show({ ...killed, alive: false }, false);
    } catch (error) {
      said.textContent = error instanceof Error ? error.message : "That did not work.";
    }
    void this.poll();
  }

  private draw(): void {
    this.drawn = false;
    const sorted = [...this.times].sort((a, b) => a - b);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
    byId("time-last").textContent = milliseconds(this.times.at(-1));
    byId("time-p50").textContent = milliseconds(at(0.5));
    byId("time-p99").textContent = milliseconds(at(0.99));
    const recent = this.times.slice(-SPARKS);
    const most = Math.max(...recent, 1);
    const points = recent.map((took, i) => {
      const x = (i / Math.max(SPARKS - 1, 1)) * 120;
      // By the root, so that one failover does not flatten all the rest.
      const y = 31 - Math.sqrt(took / most) * 29;
      return `${x.toFixed(1)} ${y.toFixed(1)}`;
    });
    byId("spark-line").setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
  }
}

class Card {
  readonly element = document.createElement("div");
  private readonly pid = document.createElement("span");

  constructor(id: number) {
    this.element.className = "node";
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = `node ${id}`;
    const badge = document.createElement("span");
    badge.className = "badge";
    badge.textContent = "leads";
    this.pid.className = "pid";
    this.element.append(name, badge, this.pid);
  }

  show(node: Running, leads: boolean): void {
    this.element.classList.toggle("leads", leads && node.alive);
    this.element.classList.toggle("dead", !node.alive);
    const restarts = node.restarts > 0 ? ` · ↻ ${node.restarts}` : "";
    this.pid.textContent = node.alive ? `pid ${node.pid}${restarts}` : "killed";
    this.element.title = node.restarts > 0 ? `started again ${node.restarts} times` : "";
  }
}

function milliseconds(value: number | undefined): string {
  if (value === undefined) return "–";
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as T;
}
