// Operations that have no answer yet. Each keeps its id until it is answered, on whatever connection that happens:
// the service applies an id once.

import { CounterError } from "../errors.js";
import type { LikeType, OperationType } from "../wire.js";

export interface Operation {
  readonly id: string;
  readonly name: string;
  readonly type: OperationType | LikeType;
  /** The amount of an increment or decrement, the value of a setValue, what a like most likely adds. */
  readonly number: number;
  /** Whose like it is. */
  readonly member?: string | undefined;
  /** When it was asked for, in the client's milliseconds. */
  readonly at: number;
  /** How often it was put on a wire. Not at all: certainly not applied. */
  sends: number;
  /** Whether the present connection owes an answer. */
  onWire: boolean;
  readonly resolve: (result: any) => void;
  readonly reject: (error: CounterError) => void;
}

export class Outbox {
  private readonly operations = new Map<string, Operation>();
  private number = 0;

  constructor(private readonly limit: number) {}

  get size(): number {
    return this.operations.size;
  }

  /** Keep an operation until it is answered. Throws when there is no room. */
  add(operation: Omit<Operation, "id" | "sends" | "onWire">): Operation {
    if (this.operations.size >= this.limit) {
      throw new CounterError("OUTBOX_FULL", `${this.limit} operations wait for an answer already`, { retryable: true });
    }
    const kept = { ...operation, id: `${++this.number}`, sends: 0, onWire: false };
    this.operations.set(kept.id, kept);
    return kept;
  }

  /** What has to be sent on the present connection, oldest first. It counts as sent from now on. */
  take(): Operation[] {
    const due = [...this.operations.values()].filter(({ onWire }) => !onWire);
    for (const operation of due) {
      operation.onWire = true;
      operation.sends += 1;
    }
    return due;
  }

  /** The connection is gone, and with it the answers that it owed. */
  disconnected(): void {
    for (const operation of this.operations.values()) operation.onWire = false;
  }

  /** The service asks for patience: this one is to be taken once more. */
  again(id: string): boolean {
    const operation = this.operations.get(id);
    if (operation) operation.onWire = false;
    return operation !== undefined;
  }

  /** An operation is answered, and forgotten. */
  settle(id: string): Operation | undefined {
    const operation = this.operations.get(id);
    this.operations.delete(id);
    return operation;
  }

  /** Forget, and return, what was asked for before `at`. */
  expire(at: number): Operation[] {
    const late = [...this.operations.values()].filter((operation) => operation.at < at);
    for (const { id } of late) this.operations.delete(id);
    return late;
  }

  /** The operations of one counter, oldest first. */
  of(name: string): Operation[] {
    return [...this.operations.values()].filter((operation) => operation.name === name);
  }
}
