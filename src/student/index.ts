// The room of students: a teacher's parts that matter, as a smaller model.
export type { StudentOptions, StudentProgress } from "./options.js";
export { makeStudent, type StudentResult } from "./student.js";
