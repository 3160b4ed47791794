import { expect, test, vi } from "vitest";
import { Like, type LikeView } from "../../src/like.js";
import { control, newClient, newName, record, until } from "../support/live.js";

/** Resolves when the view of a like is this. */
const shows = (like: Like, wanted: Partial<LikeView>): Promise<void> =>
  vi.waitFor(() => expect(like.view).toMatchObject(wanted), { timeout: 15_000, interval: 20 });

test("a like shows at once, and on every other page", async () => {
  const name = newName();
  const [ours, theirs, bobs] = [new Like(newClient(), name, "ann"), new Like(newClient(), name, "ann"), new Like(newClient(), name, "bob")];
  const views: LikeView[] = [];
  ours.watch(() => views.push(ours.view));
  theirs.watch(() => {});
  bobs.watch(() => {});
  for (const like of [ours, theirs, bobs]) await shows(like, { count: 0, isLiked: false, pending: 0 });
  const answer = ours.toggle();
  expect(ours.view).toEqual({ count: 1, isLiked: true, pending: 1 });
  expect(await answer).toMatchObject({ newCount: 1, isLiked: true });
  expect(ours.view).toEqual({ count: 1, isLiked: true, pending: 0 });
  await shows(theirs, { count: 1, isLiked: true });
  await shows(bobs, { count: 1, isLiked: false });
  await bobs.toggle();
  await theirs.toggle();
  for (const like of [ours, theirs]) await shows(like, { count: 1, isLiked: false });
  await shows(bobs, { count: 1, isLiked: true });
  // It never went back and forth.
  const told = views.map(({ isLiked }) => isLiked).filter((isLiked) => isLiked !== undefined);
  expect(told.filter((isLiked, index) => isLiked !== told[index - 1])).toEqual([false, true, false]);
  await newClient().reset(name);
  for (const like of [ours, theirs, bobs]) await shows(like, { count: 0, isLiked: false });
});

test("clicks one after the other end where the last one leads", async () => {
  const like = new Like(newClient(), newName(), "ann");
  like.watch(() => {});
  await shows(like, { isLiked: false });
  const answers = [like.toggle(), like.toggle(), like.toggle()];
  expect(like.view).toEqual({ count: 1, isLiked: true, pending: 3 });
  expect((await Promise.all(answers)).map(({ isLiked }) => isLiked)).toEqual([true, false, true]);
  expect(like.view).toEqual({ count: 1, isLiked: true, pending: 0 });
});

test("what is refused is taken back", async () => {
  const [client, name] = [newClient(), newName()];
  await client.call("create", { name, policy: { likes: true, maximum: 1 } });
  const [ann, bob] = [new Like(client, name, "ann"), new Like(client, name, "bob")];
  ann.watch(() => {});
  bob.watch(() => {});
  await shows(ann, { isLiked: false });
  await shows(bob, { isLiked: false });
  await ann.toggle();
  const refused = bob.toggle();
  expect(bob.view).toMatchObject({ count: 2, isLiked: true });
  await expect(refused).rejects.toMatchObject({ code: "LIMIT_REACHED" });
  expect(bob.view).toEqual({ count: 1, isLiked: false, pending: 0 });
  await expect(client.like(name, "")).rejects.toMatchObject({ code: "COUNTER_VALIDATION_ERROR", data: { field: "member" } });
  await expect(client.increment(name)).rejects.toMatchObject({ code: "COUNTER_VALIDATION_ERROR" });
});

test("a feed asks once", async () => {
  const fetched = vi.fn(fetch);
  const [client, names] = [newClient({ fetch: fetched }), Array.from({ length: 30 }, newName)];
  await Promise.all(names.slice(10).map((name) => newClient().like(name, "ann")));
  const likes = names.map((name) => new Like(client, name, "ann"));
  for (const like of likes) like.watch(() => {});
  await Promise.all(likes.map((like, index) => shows(like, { isLiked: index >= 10 })));
  expect(fetched.mock.calls.length).toBeLessThan(10); // As many as the snapshots came in, and not one for each.
  const { counts } = await client.call("like.getCounts", { names });
  expect(Object.values(counts)).toEqual(names.map((_, index) => (index < 10 ? 0 : 1)));
});

test("a click while nobody is there is applied once, and what others did meanwhile is shown", async () => {
  const [client, other, name] = [newClient(), newClient(), newName()];
  const like = new Like(client, name, "ann");
  like.watch(() => {});
  record(client, name);
  await shows(like, { isLiked: false });
  await other.like(name, "bob");
  await control("kill/gateway");
  const answer = like.toggle();
  expect(like.view).toMatchObject({ isLiked: true });
  expect(await answer).toMatchObject({ newCount: 2, isLiked: true });
  await until(client, () => client.state === "open");
  await other.unlike(name, "ann");
  await shows(like, { count: 1, isLiked: false, pending: 0 });
});
