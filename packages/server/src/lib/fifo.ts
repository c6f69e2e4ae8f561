/** First in, first out, at constant cost; an array's `shift` is not, once the array is long. The owner bounds its length. */
export class Fifo<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  peek(): T | undefined {
    return this.#items[this.#head];
  }

  peekLast(): T | undefined {
    return this.length === 0 ? undefined : this.#items.at(-1);
  }

  replaceFirst(item: T): void {
    if (this.length > 0) this.#items[this.#head] = item;
  }

  replaceLast(item: T): void {
    if (this.length > 0) this.#items[this.#items.length - 1] = item;
  }

  shift(): T | undefined {
    if (this.length === 0) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.#head === this.#items.length) this.clear();
    else if (this.#head >= 1024 && this.#head * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  clear(): void {
    this.#items = [];
    this.#head = 0;
  }
}
