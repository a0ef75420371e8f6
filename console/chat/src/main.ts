// Begins: the page is at the route's prefix, the chat is where the page is.
import "./look.css";
import { mount } from "svelte";
import { App } from "./app.svelte";
import Page from "./Page.svelte";

const app = new App(new URL(".", location.href));
app.start();
mount(Page, { target: document.getElementById("chat") as HTMLElement, props: { app } });
