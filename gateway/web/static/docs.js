// The page at "/docs": the API description of this service in Swagger UI.
//
// The service describes itself in OpenAPI 3.1. The Swagger UI that is packaged for Python (4.15) shows 3.0
// only and refuses anything else, so the page gives it a 3.0 version, made here. /openapi.json stays 3.1.

// Where a JSON Schema keeps further schemas: alone, in a list, or by names that are the user's own and must
// not be mistaken for keywords.
const SCHEMA = ["additionalProperties", "items", "not"];
const SCHEMA_LIST = ["allOf", "anyOf", "oneOf"];
const SCHEMA_MAP = ["properties"];

// What 3.0 has no word for; the description loses nothing that a reader needs.
const UNKNOWN_TO_30 = ["$id", "$schema", "$comment", "$defs", "const", "examples", "prefixItems"];

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isNull = (schema) => isObject(schema) && schema.type === "null";
const mapValues = (object, change) =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));

/** A 3.1 schema (JSON Schema 2020-12) as a 3.0 schema. */
function schemaTo30(schema) {
  if (!isObject(schema)) return schema;
  let result = { ...schema };
  for (const key of SCHEMA) if (key in result) result[key] = schemaTo30(result[key]);
  for (const key of SCHEMA_LIST) if (key in result) result[key] = result[key].map(schemaTo30);
  for (const key of SCHEMA_MAP) if (key in result) result[key] = mapValues(result[key], schemaTo30);

  if ("const" in schema) result.enum = [schema.const];
  if (Array.isArray(schema.examples) && !("example" in schema)) result.example = schema.examples[0];
  if (Array.isArray(schema.prefixItems)) result.items ??= { anyOf: schema.prefixItems.map(schemaTo30) };
  for (const [bound, limit] of [["exclusiveMinimum", "minimum"], ["exclusiveMaximum", "maximum"]]) {
    if (typeof schema[bound] === "number") Object.assign(result, { [limit]: schema[bound], [bound]: true });
  }
  for (const key of UNKNOWN_TO_30) delete result[key];
  return nullTo30(typesTo30(result));
}

/** `type: [string, null]` as `type: string, nullable: true`; several types as a choice of schemas. */
function typesTo30(schema) {
  if (!Array.isArray(schema.type)) return schema;
  const { type, ...rest } = schema;
  const types = type.filter((name) => name !== "null");
  if (types.length < type.length) rest.nullable = true;
  if (types.length === 1) return { ...rest, type: types[0] };
  return { ...rest, anyOf: types.map((name) => ({ type: name })) };
}

/** A choice with null as the other choices, nullable. */
function nullTo30(schema) {
  for (const key of ["anyOf", "oneOf"]) {
    const choices = schema[key]?.filter((choice) => !isNull(choice));
    if (!choices || choices.length === schema[key].length) continue;
    const { [key]: _, ...rest } = schema;
    if (choices.length > 1) return { ...rest, nullable: true, [key]: choices };
    // A reference has no room for a neighbour in 3.0, so it stays wrapped.
    const [choice = {}] = choices;
    return { ...rest, nullable: true, ...("$ref" in choice ? { allOf: [choice] } : choice) };
  }
  return schema;
}

/** A part of a 3.1 document as 3.0: wherever a member called `schema` stands, outside of examples. */
function partTo30(part) {
  if (Array.isArray(part)) return part.map(partTo30);
  if (!isObject(part)) return part;
  return Object.fromEntries(
    Object.entries(part).map(([key, value]) => {
      if (key === "schema") return [key, schemaTo30(value)];
      if (key === "schemas") return [key, mapValues(value, schemaTo30)];
      if (key === "example" || key === "examples") return [key, value];
      return [key, partTo30(value)];
    }),
  );
}

/** An OpenAPI 3.1 document as 3.0; any other document as it is. */
function documentTo30(spec) {
  if (!/^3\.1(\.|$)/.test(spec.openapi)) return spec;
  const { webhooks: _, jsonSchemaDialect: __, ...rest } = partTo30(spec);
  return { ...rest, paths: rest.paths ?? {}, openapi: "3.0.3" };
}

async function show() {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  SwaggerUIBundle({
    spec: documentTo30(await answer.json()),
    domNode: document.getElementById("docs"),
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null, // Else the description would be sent to a validator elsewhere.
  });
}

show().catch((error) => {
  document.getElementById("docs").textContent = `The description could not be loaded: ${error.message}`;
});
